import NBDProtocol
import Testing

/// Proves that replies are written byte for byte as the specification says, in each style of
/// headers and at any alignment.
@Suite struct NBDReplyTests {
  private static let tag = NBDRequestTag(
    cookie: 0x1122_3344_5566_7788, offset: 0x0102_0304_0506_0708)
  private static let cookie: [UInt8] = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
  private static let offset: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]

  @Test(
    arguments: [
      (nil, 0), (.notPermitted, 1), (.io, 5), (.noMemory, 12), (.invalid, 22), (.noSpace, 28),
      (.overflow, 75), (.notSupported, 95), (.shutdown, 108),
    ] as [(NBDError?, UInt8)])
  func `a reply without content`(_ error: NBDError?, _ number: UInt8) {
    let simple: [UInt8] = [0x67, 0x44, 0x66, 0x98, 0, 0, 0, number] + Self.cookie
    #expect(reply(error, .simple) == simple)
    let text = [UInt8]("so it is".utf8)
    let payload: [UInt8] = [0, 0, 0, number, 0, UInt8(text.count)] + text
    let chunk: [UInt8] = [0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 1]
    let structured = [chunk, Self.cookie, u32(UInt32(payload.count)), payload].flatMap { $0 }
    #expect(reply(error, .structured) == (error == nil ? simple : structured))
    let magic: [UInt8] = [0x6e, 0x8a, 0x27, 0x8c, 0, 1]
    let success = [magic, [0, 0], Self.cookie, Self.offset, u64(0)].flatMap { $0 }
    let failure = [
      magic, [0x80, 1], Self.cookie, Self.offset, u64(UInt64(payload.count)), payload,
    ].flatMap { $0 }
    #expect(reply(error, .extended) == (error == nil ? success : failure))
  }

  private func reply(_ error: NBDError?, _ headers: NBDHeaderStyle) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: NBDReply.maximumByteCount + 2)
    let count = unsafe bytes.withUnsafeMutableBytes {
      unsafe NBDReply(Self.tag, error: error, text: error == nil ? nil : "so it is")
        .write(to: $0.baseAddress! + 1, headers)
    }
    #expect(bytes[0] == 0xee && bytes[(count + 1)...].allSatisfy { $0 == 0xee })
    return Array(bytes[1...count])
  }

  @Test func `block status`() {
    let extents = [
      NBDStatusExtent(length: 0x1_0000, flags: 3), NBDStatusExtent(length: 512, flags: 0),
    ]
    var structured: [UInt8] = [0x66, 0x8e, 0x33, 0xef, 0, 0, 0, 5]
    structured += Self.cookie
    for word in [4 + 16, 9, 0x1_0000, 3, 512, 0] as [UInt32] { structured += u32(word) }
    #expect(status(extents, isLast: false, .structured) == structured)
    var extended: [UInt8] = [0x6e, 0x8a, 0x27, 0x8c, 0, 1, 0, 6]
    extended += Self.cookie
    extended += Self.offset
    extended += u64(8 + 32)
    for word in [9, 2] as [UInt32] { extended += u32(word) }
    for word in [0x1_0000, 3, 512, 0] as [UInt64] { extended += u64(word) }
    #expect(status(extents, isLast: true, .extended) == extended)
  }

  private func status(
    _ extents: [NBDStatusExtent], isLast: Bool, _ headers: NBDHeaderStyle
  ) -> [UInt8] {
    let count = NBDStatusChunk.byteCount(extentCount: extents.count, headers)
    var bytes = [UInt8](repeating: 0, count: count)
    unsafe bytes.withUnsafeMutableBytes {
      unsafe NBDStatusChunk.write(
        extents, context: 9, to: Self.tag, isLast: isLast, headers, at: $0.baseAddress!)
    }
    return bytes
  }

  @Test(
    arguments: [
      (u64(512) + u32(4), [4]),
      (u64(1000) + u32(7) + u32(4), [7, 4]),
      (u64(0) + u32(4), nil),
      (u64(1001) + u32(4), nil),
      (u64(.max) + u32(4), nil),
      (u64(512), nil),
      (u64(512) + u32(5), nil),
      (u64(512) + u32(4) + u32(4), nil),
      (u64(512) + u32(4) + [0], nil),
      ([0, 0], nil),
    ] as [([UInt8], [UInt32]?)])
  func `the payload of a block status is taken or refused`(
    _ payload: [UInt8], _ identifiers: [UInt32]?
  ) {
    let export = NBDExport(name: "d", sizeBytes: 1024, isReadOnly: true, canMultiConn: true)
    let session = NBDSession(
      export: export, headers: .extended,
      contexts: [4, 7].map { NBDMetaContext(identifier: $0, name: "x:\($0)") })
    let request = NBDRequest(
      flags: .payloadLength, command: 7, cookie: 0, offset: 24, length: UInt64(payload.count))
    let filter = NBDStatusFilter(parsing: payload, of: request, in: session)
    #expect(filter?.identifiers == identifiers)
  }
}
