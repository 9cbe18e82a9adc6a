import NBDProtocol
import Testing

@testable import Handover

/// Proves that every message of a hand-over comes back as it was, and that headers and bodies
/// which are none are refused.
struct HandoverMessageTests {
  private static let messages: [HandoverMessage] = [
    .begin, .confirmed, .yours,
    .listener(HandoverListener(kind: "nbd", address: "tcp:[::1]:10809", isActivated: true)),
    .file(path: "/srv/a disk.raw"),
    .group(
      HandoverGroup(name: "shop", isOpen: true, completeThrough: 1_700_000_000_000_000_001)),
    .group(
      HandoverGroup(
        name: "closed", isOpen: false, identifier: .init(high: 7, low: 8), acknowledged: 12,
        loss: .init(first: 9, last: 10, isTold: [true, false]))),
    .connection(
      ConnectionState(
        group: "g", disk: "d", instant: 5,
        session: NBDSession(
          export: NBDExport(name: "d", sizeBytes: 512, isReadOnly: false, canMultiConn: true)),
        input: [1, 2, 3], output: [4])),
    .complete(HandoverCounts(listeners: 3, files: 2, groups: 1, connections: 70_000)),
    .refused(reason: "the configuration is of site west"),
  ]

  private func decoded(_ bytes: [UInt8]) throws -> HandoverMessage {
    let header = try HandoverMessage.Header(
      decoding: Array(bytes.prefix(HandoverMessage.headerBytes)))
    let body = Array(bytes.dropFirst(HandoverMessage.headerBytes))
    try #require(body.count == header.bodyBytes)
    return try HandoverMessage(header.kind, body: body)
  }

  @Test(arguments: messages)
  func `a message comes back as it was`(message: HandoverMessage) throws {
    #expect(try decoded(message.encoded()) == message)
  }

  @Test(arguments: messages)
  func `a body that is too long or too short is refused`(message: HandoverMessage) throws {
    let bytes = message.encoded()
    let header = try HandoverMessage.Header(
      decoding: Array(bytes.prefix(HandoverMessage.headerBytes)))
    let body = Array(bytes.dropFirst(HandoverMessage.headerBytes))
    if case .refused = message { return }
    #expect(throws: HandoverError.self) { try HandoverMessage(header.kind, body: body + [0]) }
    if !body.isEmpty {
      #expect(throws: HandoverError.self) {
        try HandoverMessage(header.kind, body: body.dropLast())
      }
    }
  }

  @Test(arguments: [
    "", "5448 4f56 0001 0000 0000", "5448 4f57 0001 0000 0000 0000",
    "5448 4f56 0000 0000 0000 0000", "5448 4f56 000a 0000 0000 0000",
    "5448 4f56 0001 0001 0000 0000", "5448 4f56 0005 0000 ffff ffff",
  ])
  func `what is no header is refused`(hexadecimal: String) throws {
    let digits = Array(hexadecimal.filter { $0 != " " })
    let bytes = stride(from: 0, to: digits.count, by: 2).map {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)!
    }
    #expect(throws: HandoverError.self) { try HandoverMessage.Header(decoding: bytes) }
  }

  @Test func `a reason is cut where it is too long`() throws {
    let long = String(repeating: "x", count: 100_000)
    guard case .refused(let reason) = try decoded(HandoverMessage.refused(reason: long).encoded())
    else { throw HandoverError.gone }
    #expect(reason.utf8.count == HandoverLimits.reasonBytes)
  }
}
