import NBDProtocol

/// Holds what a handshake did against the client's stream, read once more by the specification.
struct HandshakeJudge {
  let settings: HandshakeSettings
  let stream: ArraySlice<UInt8>

  /// The replies to one option, all of one frame each.
  private struct Answer {
    let option: UInt64
    var frames: [(type: UInt64, data: ArraySlice<UInt8>)] = []
    var final: UInt64? { frames.last.map(\.type).flatMap { $0 == ack || $0 >= error ? $0 : nil } }
  }

  private static let (ack, error): (UInt64, UInt64) = (1, 1 << 31)
  private static let (server, info, context): (UInt64, UInt64, UInt64) = (2, 3, 4)
  private static let (exportName, list, startTLS): (UInt64, UInt64, UInt64) = (1, 3, 5)
  private static let (infoOption, go): (UInt64, UInt64) = (6, 7)
  private static let (structured, listContexts): (UInt64, UInt64) = (8, 9)
  private static let (setContexts, extended): (UInt64, UInt64) = (10, 11)

  func check(_ played: PlayedHandshake) throws(FuzzViolation) {
    let ends = played.actions.indices.filter { index in
      switch played.actions[index] {
      case .close, .beginTransmission: true
      default: false
      }
    }
    try require(ends.count == (played.isEnded ? 1 : 0), "a handshake that ends \(ends.count) times")
    try require(ends.allSatisfy { $0 == played.actions.count - 1 }, "actions behind the end")
    try require(
      played.isEnded || played.consumed == stream.count,
      "bytes are left of a handshake that goes on")
    let (answers, tail) = try answers(of: played)
    for answer in answers { try check(answer) }
    try checkOrder(answers, played)
    try checkSecrecy(played)
    if case .beginTransmission(let session) = played.actions.last {
      try checkSession(session, answers, tail: tail)
    } else {
      try require(tail.isEmpty, "\(tail.count) bytes behind the last reply")
    }
  }

  // MARK: Frames

  /// What was sent: the greeting, and then replies; what follows them is the answer to EXPORT_NAME.
  private func answers(
    of played: PlayedHandshake
  ) throws(FuzzViolation) -> ([Answer], tail: ArraySlice<UInt8>) {
    var sent: [UInt8] = []
    for case .send(let bytes) in played.actions { sent += bytes }
    var reader = WireReader(sent)
    try require(
      Array(try reader.bytes(18)) == Array("NBDMAGICIHAVEOPT".utf8) + [0, 3], "a wrong greeting")
    var answers: [Answer] = []
    while reader.remaining >= 20 {
      var ahead = reader
      guard try ahead.integer(8) == 0x0003_e889_0455_65a9 else { break }
      let option = try ahead.integer(4)
      let type = try ahead.integer(4)
      let data = try ahead.bytes(Int(try ahead.integer(4)))
      reader = ahead
      if answers.last?.option != option || answers.last?.final != nil {
        try require(answers.last.map { $0.final != nil } ?? true, "an answer without its end")
        answers.append(Answer(option: option))
      }
      answers[answers.count - 1].frames.append((type, data))
    }
    try require(answers.last.map { $0.final != nil } ?? true, "an answer without its end")
    return (answers, try reader.bytes(reader.remaining))
  }

  private func check(_ answer: Answer) throws(FuzzViolation) {
    for (type, data) in answer.frames {
      var reader = WireReader(data)
      switch type {
      case Self.ack: try require(data.isEmpty, "an ACK with data")
      case Self.server:
        try require(answer.option == Self.list, "SERVER for option \(answer.option)")
        try checkText(try reader.bytes(Int(try reader.integer(4))))
        try checkText(try reader.bytes(reader.remaining))
      case Self.info:
        try require([Self.infoOption, Self.go].contains(answer.option), "INFO for another option")
        let sizes: [UInt64: Int] = [0: 10, 3: 12]
        let item = try reader.integer(2)
        if let size = sizes[item] {
          try require(reader.remaining == size, "INFO \(item) of \(reader.remaining) bytes")
        } else {
          try require(item == 1 || item == 2, "INFO of type \(item)")
          try checkText(try reader.bytes(reader.remaining))
        }
      case Self.context:
        try require(
          [Self.listContexts, Self.setContexts].contains(answer.option),
          "CONTEXT for another option")
        _ = try reader.integer(4)
        try checkText(try reader.bytes(reader.remaining))
      default:
        try require(type > Self.error, "a reply of type \(type)")
        try checkText(data)
      }
    }
    let isInfo = [Self.infoOption, Self.go].contains(answer.option)
    if isInfo, answer.final == Self.ack {
      try require(
        answer.frames.contains { $0.type == Self.info && $0.data.starts(with: [0, 0]) },
        "an export without its size")
    }
  }

  private func checkText(_ bytes: ArraySlice<UInt8>) throws(FuzzViolation) {
    try require(
      bytes.count <= 4096 && !bytes.contains(0) && String(validating: bytes, as: UTF8.self) != nil,
      "a text that is none: \(bytes)")
  }

  // MARK: Order

  /// The numbers of the whole options in the stream.
  private func options() throws(FuzzViolation) -> [UInt64] {
    var reader = WireReader(stream.dropFirst(4))
    var options: [UInt64] = []
    while reader.remaining >= 16 {
      guard try reader.integer(8) == 0x4948_4156_454f_5054 else { break }
      let option = try reader.integer(4)
      let length = Int(try reader.integer(4))
      guard length <= reader.remaining else { break }
      _ = try reader.bytes(length)
      options.append(option)
    }
    return options
  }

  /// Each option has one answer, in the order in which they came.
  private func checkOrder(
    _ answers: [Answer], _ played: PlayedHandshake
  ) throws(FuzzViolation) {
    let sent = try options()
    let answered = answers.map(\.option)
    try require(
      sent.starts(with: answered), "options \(sent) were answered in the order \(answered)")
    try require(
      played.isEnded || sent.count == answered.count,
      "\(answered.count) of \(sent.count) options were answered")
    try require(
      sent.count <= settings.limits.maximumOptionCount + 16 || played.isEnded
        || answered.contains(Self.list), "\(sent.count) options in one handshake")
  }

  /// Where TLS is required, nothing is asked of the owner in the clear.
  private func checkSecrecy(_ played: PlayedHandshake) throws(FuzzViolation) {
    let start = played.actions.firstIndex(of: .startTLS)
    try require(start == nil || settings.tls != .off, "TLS without TLS")
    guard settings.tls == .required else { return }
    for action in played.actions.prefix(start ?? played.actions.count) {
      switch action {
      case .send, .startTLS, .close: break
      default: throw FuzzViolation("\(action) in the clear")
      }
    }
  }

  // MARK: Agreement

  private func checkSession(
    _ session: NBDSession, _ answers: [Answer], tail: ArraySlice<UInt8>
  ) throws(FuzzViolation) {
    // What was agreed before TLS is void.
    let begun = answers.lastIndex { $0.option == Self.startTLS && $0.final == Self.ack }
    let valid = answers[(begun.map { $0 + 1 } ?? 0)...]
    func isAgreed(_ option: UInt64) -> Bool {
      valid.contains { $0.option == option && $0.final == Self.ack }
    }
    let headers: NBDHeaderStyle =
      isAgreed(Self.extended) ? .extended : isAgreed(Self.structured) ? .structured : .simple
    try require(session.headers == headers, "\(session.headers) were not agreed on")
    try checkContexts(session, valid)
    var end = WireReader(tail)
    if tail.isEmpty {
      guard let last = answers.last, last.option == Self.go, last.final == Self.ack else {
        throw FuzzViolation("transmission begins without GO or EXPORT_NAME")
      }
      let told = last.frames.first { $0.type == Self.info && $0.data.starts(with: [0, 0]) }
      end = WireReader(told?.data.dropFirst(2) ?? [])
    } else {
      try require(
        headers != .extended && [10, 134].contains(tail.count),
        "EXPORT_NAME gets \(tail.count) bytes")
    }
    try require(try end.integer(8) == session.export.sizeBytes, "another size was told")
    try require(
      try end.integer(2) == UInt64(session.transmissionFlags.rawValue), "other flags were told")
  }

  private func checkContexts(
    _ session: NBDSession, _ answers: ArraySlice<Answer>
  ) throws(FuzzViolation) {
    if session.contexts.isEmpty { return }
    try require(session.headers != .simple, "contexts without structured replies")
    try require(session.contexts.count <= NBDLimits.maximumContexts, "too many contexts")
    guard let last = answers.last(where: { $0.option == Self.setContexts }) else {
      throw FuzzViolation("contexts that were not selected")
    }
    var told: [NBDMetaContext] = []
    for (type, data) in last.frames where type == Self.context {
      var reader = WireReader(data)
      let identifier = UInt32(try reader.integer(4))
      told.append(
        NBDMetaContext(
          identifier: identifier,
          name: String(decoding: try reader.bytes(reader.remaining), as: UTF8.self)))
    }
    try require(told == session.contexts, "other contexts were told: \(told)")
    try require(
      Set(told.map(\.identifier)).count == told.count, "two contexts with one identifier")
  }
}
