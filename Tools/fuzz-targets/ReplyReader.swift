import NBDProtocol

/// The client's side: reads replies of the transmission phase by the specification, and complains
/// about all that is not as it should be.
enum ReplyReader {
  struct Chunk {
    let type: UInt64
    /// Of a simple reply with an error, or of an error chunk.
    let error: UInt32?
    /// What follows a simple reply, or a chunk's payload; of an error chunk, what follows error and
    /// message.
    let content: ArraySlice<UInt8>
  }

  private static let (none, data, hole): (UInt64, UInt64, UInt64) = (0, 1, 2)
  private static let (status, extendedStatus): (UInt64, UInt64) = (5, 6)
  private static let (errorType, errorOffset): (UInt64, UInt64) = (0x8001, 0x8002)

  /// The chunks of one reply, to its end; a simple reply counts as one chunk.
  static func chunks(
    _ bytes: [UInt8], _ headers: NBDHeaderStyle, _ tag: NBDRequestTag
  ) throws(FuzzViolation) -> [Chunk] {
    var reader = WireReader(bytes)
    var chunks: [Chunk] = []
    var isLast = false
    while reader.remaining > 0 {
      try require(!isLast, "\(reader.remaining) bytes behind a reply")
      let magic = try reader.integer(4)
      if magic == 0x6744_6698 {
        try require(headers != .extended && chunks.isEmpty, "a simple reply that is not allowed")
        let error = UInt32(try reader.integer(4))
        try require(try reader.integer(8) == tag.cookie, "another cookie")
        let content = try reader.bytes(reader.remaining)
        chunks.append(Chunk(type: none, error: error == 0 ? nil : error, content: content))
        isLast = true
        continue
      }
      let right: UInt64 = headers == .extended ? 0x6e8a_278c : 0x668e_33ef
      try require(headers != .simple && magic == right, "a reply begins with \(magic)")
      let flags = try reader.integer(2)
      try require(flags <= 1, "reply flags \(flags)")
      isLast = flags == 1
      let type = try reader.integer(2)
      try require(try reader.integer(8) == tag.cookie, "another cookie")
      if headers == .extended {
        try require(try reader.integer(8) == tag.offset, "another offset")
      }
      let length = try reader.integer(headers == .extended ? 8 : 4)
      chunks.append(try chunk(type, try reader.bytes(Int(clamping: length))))
    }
    try require(isLast, "a reply does not end")
    return chunks
  }

  private static func chunk(
    _ type: UInt64, _ payload: ArraySlice<UInt8>
  ) throws(FuzzViolation) -> Chunk {
    guard type & 0x8000 != 0 else { return Chunk(type: type, error: nil, content: payload) }
    try require(type == errorType || type == errorOffset, "a chunk of type \(type)")
    var reader = WireReader(payload)
    let error = UInt32(try reader.integer(4))
    try require(error != 0, "an error chunk without an error")
    _ = try reader.bytes(Int(try reader.integer(2)))
    return Chunk(type: type, error: error, content: try reader.bytes(reader.remaining))
  }

  /// What a READ has brought: everything from its start, without a break, to its end or to where
  /// the error says.
  static func read(
    _ bytes: [UInt8], _ headers: NBDHeaderStyle, _ request: NBDRequest
  ) throws(FuzzViolation) -> (content: [UInt8], error: UInt32?) {
    let chunks = try chunks(bytes, headers, request.tag)
    if let first = chunks.first, headers == .simple {
      let expected = first.error == nil ? Int(request.length) : 0
      try require(first.content.count == expected, "\(first.content.count) bytes of a READ")
      return (Array(first.content), first.error)
    }
    var content: [UInt8] = []
    var contentChunks = 0
    for (index, chunk) in chunks.enumerated() {
      var reader = WireReader(chunk.content)
      if let error = chunk.error {
        try require(index == chunks.count - 1, "chunks behind an error")
        try require(
          try reader.integer(8) == request.offset + UInt64(content.count),
          "the error lies elsewhere than the end of what came")
        return (content, error)
      }
      contentChunks += 1
      try require(
        try reader.integer(8) == request.offset + UInt64(content.count), "a gap in a READ")
      switch chunk.type {
      case data:
        try require(reader.remaining > 0, "data without bytes")
        content += try reader.bytes(reader.remaining)
      case hole:
        let count = try reader.integer(4)
        try require(count > 0 && reader.remaining == 0, "a hole of \(count) bytes")
        try require(count <= request.length, "a hole longer than the READ")
        content += [UInt8](repeating: 0, count: Int(count))
      default: throw FuzzViolation("a chunk of type \(chunk.type) for a READ")
      }
    }
    try require(content.count == request.length, "\(content.count) bytes of a READ")
    try require(
      contentChunks == 1 || !request.flags.contains(.dontFragment), "a READ with DF in pieces")
    return (content, nil)
  }

  /// The extents of each context of a BLOCK_STATUS that succeeded.
  static func status(
    _ bytes: [UInt8], _ headers: NBDHeaderStyle, _ request: NBDRequest
  ) throws(FuzzViolation) -> [UInt32: [NBDStatusExtent]] {
    let isExtended = headers == .extended
    var answer: [UInt32: [NBDStatusExtent]] = [:]
    for chunk in try chunks(bytes, headers, request.tag) {
      try require(
        chunk.type == (isExtended ? extendedStatus : status), "a status chunk of type \(chunk.type)"
      )
      var reader = WireReader(chunk.content)
      let context = UInt32(try reader.integer(4))
      let count = isExtended ? Int(try reader.integer(4)) : reader.remaining / 8
      var extents: [NBDStatusExtent] = []
      for _ in 0..<count {
        let length = try reader.integer(isExtended ? 8 : 4)
        let flags = try reader.integer(isExtended ? 8 : 4)
        try require(length > 0 && flags <= UInt32.max, "an extent of \(length) bytes")
        extents.append(NBDStatusExtent(length: length, flags: UInt32(flags)))
      }
      try require(reader.remaining == 0 && !extents.isEmpty, "a status of no extents")
      try require(answer[context] == nil, "context \(context) twice")
      answer[context] = extents
    }
    return answer
  }
}
