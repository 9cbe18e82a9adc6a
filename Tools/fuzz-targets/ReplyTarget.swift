import NBDProtocol

/// Makes replies to requests of a stream and reads them as a client does.
enum ReplyTarget {
  /// Longer reads are not made: they would show nothing that shorter ones do not.
  private static let readLimit = 64 << 10

  static func check(
    _ event: PlayedRequests.Event, _ stream: ArraySlice<UInt8>, _ session: NBDSession,
    _ choices: Choices
  ) throws(FuzzViolation) {
    var choices = choices
    let headers = session.headers
    switch event.step {
    case .wait, .disconnect: break
    case .refuse(let tag, let error, let text): try checkPlain(tag, error, text: text, headers)
    case .execute(.read, let request) where request.length <= UInt64(readLimit):
      try checkRead(request, headers, &choices)
    case .execute(.blockStatus, let request):
      try checkStatus(request, Array(session.contexts), headers, &choices)
    case .execute(.filteredBlockStatus, let request):
      let payload = Array(stream.dropFirst(event.end).prefix(Int(request.length)))
      guard payload.count == request.length else { return }
      try checkFilter(payload, request, session, &choices)
    case .execute(_, let request):
      try checkPlain(request.tag, choices.below(4) == 0 ? .io : nil, headers)
    }
  }

  private static func checkPlain(
    _ tag: NBDRequestTag, _ error: NBDError?, text: NBDErrorText? = nil,
    _ headers: NBDHeaderStyle
  ) throws(FuzzViolation) {
    let bytes = try unsafe written(byteCount: NBDReply.maximumByteCount) { memory in
      unsafe NBDReply(tag, error: error, text: text).write(to: memory, headers)
    }
    let chunks = try ReplyReader.chunks(bytes, headers, tag)
    try require(chunks.count == 1 && chunks[0].content.isEmpty, "\(chunks) is no plain reply")
    try require(
      chunks[0].error == error?.rawValue, "\(chunks) does not say \(String(describing: error))")
  }

  // MARK: READ

  private static func checkRead(
    _ request: NBDRequest, _ headers: NBDHeaderStyle, _ choices: inout Choices
  ) throws(FuzzViolation) {
    let length = Int(request.length)
    var expected: [UInt8] = []
    var failed: Int?
    let bytes = try unsafe written(byteCount: NBDReadReply.capacity(length: length)) { memory in
      var reply = unsafe NBDReadReply(to: request, headers, in: memory)
      while expected.count < length {
        let start = expected.count
        let count = pieceBytes(length - start, &choices)
        if choices.below(3) == 0 {
          reply.appendZeros(count)
          expected += [UInt8](repeating: 0, count: count)
          continue
        }
        let isZero = choices.below(3) == 0
        let piece = isZero ? [UInt8](repeating: 0, count: count) : pattern(count, &choices)
        expected += piece
        unsafe reply.appendData(count).copyBytes(from: piece)
        if choices.below(24) == 0 {
          let end = start + choices.below(count)
          failed = end
          return reply.fail(.io, from: request.offset + UInt64(end))
        }
        if choices.below(2) == 0 { reply.foldZeros(count) }
      }
      return reply.finish()
    }
    let answer = try ReplyReader.read(bytes, headers, request)
    try require(
      (answer.error == nil) == (failed == nil), "a READ says \(String(describing: answer.error))")
    let known = failed == nil ? length : headers == .simple ? 0 : failed ?? 0
    try require(
      answer.content == Array(expected.prefix(known)), "a READ brings other bytes than were there")
  }

  private static func pieceBytes(_ rest: Int, _ choices: inout Choices) -> Int {
    let longest = [1, 511, 512, 513, 4096, 9000, rest][choices.below(7)]
    return min(rest, 1 + choices.below(longest))
  }

  /// Bytes with an end and a start that may be zeros.
  private static func pattern(_ count: Int, _ choices: inout Choices) -> [UInt8] {
    var bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 | 1) }
    let zeros = choices.below(count + 1)
    if choices.below(2) == 0 {
      bytes.replaceSubrange(0..<zeros, with: repeatElement(0, count: zeros))
    }
    return bytes
  }

  // MARK: BLOCK_STATUS

  private static func checkFilter(
    _ payload: [UInt8], _ request: NBDRequest, _ session: NBDSession, _ choices: inout Choices
  ) throws(FuzzViolation) {
    var reader = WireReader(payload)
    let length = payload.count < 8 ? 0 : try reader.integer(8)
    var identifiers: [UInt32] = []
    while reader.remaining >= 4 { identifiers.append(UInt32(try reader.integer(4))) }
    let known = session.contexts.map(\.identifier)
    let size = session.export.sizeBytes
    let isRight =
      length > 0 && reader.remaining == 0 && !identifiers.isEmpty
      && Set(identifiers).count == identifiers.count && identifiers.allSatisfy(known.contains)
      && request.offset <= size && length <= size - request.offset
    let filter = NBDStatusFilter(parsing: payload, of: request, in: session)
    try require(
      (filter != nil) == isRight,
      "the filter \(payload) of \(request) is taken for \(filter as Any)")
    guard let filter else { return try checkPlain(request.tag, .invalid, session.headers) }
    try require(
      filter.length == length && filter.identifiers == identifiers, "the filter says \(filter)")
    let wanted = session.contexts.filter { filter.identifiers.contains($0.identifier) }
    try checkStatus(request, wanted, session.headers, &choices)
  }

  private static func checkStatus(
    _ request: NBDRequest, _ contexts: [NBDMetaContext], _ headers: NBDHeaderStyle,
    _ choices: inout Choices
  ) throws(FuzzViolation) {
    var bytes: [UInt8] = []
    var expected: [UInt32: [NBDStatusExtent]] = [:]
    for (index, context) in contexts.enumerated() {
      let extents = (0..<1 + choices.below(20)).map { _ in
        let bound = choices.below(2) == 0 ? 1 << 20 : 1 << 32
        let scale: UInt64 = headers == .extended && choices.below(4) == 0 ? 1 << 20 : 1
        return NBDStatusExtent(
          length: UInt64(1 + choices.below(bound - 1)) * scale,
          flags: UInt32(truncatingIfNeeded: choices.next()))
      }
      expected[context.identifier] = extents
      let byteCount = NBDStatusChunk.byteCount(extentCount: extents.count, headers)
      let isLast = index == contexts.count - 1
      bytes += try unsafe written(byteCount: byteCount) { memory in
        unsafe NBDStatusChunk.write(
          extents, context: context.identifier, to: request.tag, isLast: isLast, headers,
          at: memory)
        return byteCount
      }
    }
    let answer = try ReplyReader.status(bytes, headers, request)
    try require(answer == expected, "a status says \(answer), and was \(expected)")
  }
}
