import Foundation
import TestSupport
import Testing

/// Proves what a client with extended headers gets: requests of 64-bit length, payloads only where
/// they are announced, and block status of the contexts that it names. Byte by byte, because the
/// libnbd of today's distributions does not speak them.
@Suite(.scratch) struct ExtendedHeaderTests {
  private let read = 0
  private let write = 1
  private let trim = 4
  private let zero = 6
  private let blockStatus = 7
  private let payloadLength = 32

  private func session(
    _ single: SingleSite, _ headers: RawSession.Headers = .extended, contexts: [String] = []
  ) throws -> RawSession {
    try RawSession(single.site.socket, "disk", headers, contexts: contexts)
  }

  /// qemu does not announce the payload of a WRITE, which the specification demands.
  @Test(arguments: [33, 32, 1, 0])
  func `what is written is read back in chunks of the same cookie`(flags: Int) throws {
    let single = try SingleSite()
    let session = try session(single)
    let bytes = [UInt8](1...100)
    session.send(write, flags: flags, cookie: 5, offset: 7, length: 100, payload: bytes)
    let written = try session.reply()
    #expect(written.map(\.type) == [0] && written.map(\.cookie) == [5])
    session.send(read, cookie: 6, offset: 7, length: 100)
    let answer = try session.reply()
    #expect(answer.map(\.cookie) == [6])
    #expect(answer.map(\.payload) == [[0, 0, 0, 0, 0, 0, 0, 7] + bytes])
  }

  @Test func `a payload that is not wanted is skipped and the request refused`() throws {
    let single = try SingleSite()
    let session = try session(single, contexts: ["base:allocation"])
    session.send(trim, flags: payloadLength, cookie: 1, length: 5, payload: [1, 2, 3, 4, 5])
    session.send(read, flags: payloadLength, cookie: 2, length: 5, payload: [1, 2, 3, 4, 5])
    session.send(
      blockStatus, flags: payloadLength, cookie: 3, length: 12,
      payload: [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 99])
    for cookie in 1...3 as ClosedRange<UInt64> {
      let chunk = try session.receive()
      #expect(chunk.cookie == cookie && chunk.error == 22)
    }
    session.send(9, flags: payloadLength, cookie: 4, length: 1 << 40)
    #expect(try session.isClosedByPeer())
  }

  @Test func `block status answers for the contexts of the payload only`() throws {
    let single = try SingleSite(history: "1h")
    try single.site.connect("disk").write([UInt8](repeating: 1, count: 4096), at: 0)
    let changed = "tapline:changed-since:-1ms"
    let session = try session(single, contexts: ["base:allocation", changed])
    #expect(session.transmissionFlags & 0x1000 != 0)
    let identifier = try #require(session.contexts["base:allocation"])
    session.send(blockStatus, cookie: 1, length: 8 << 20)
    #expect(try session.reply().map(\.type) == [6, 6])
    session.send(
      blockStatus, flags: payloadLength, cookie: 2, length: 12,
      payload: [0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, UInt8(identifier)])
    let answer = try session.reply()
    #expect(answer.count == 1)
    // Two extents, each with length and flags of 64 bits.
    let payload = try #require(answer.first?.payload)
    #expect(number(payload[0..<4]) == UInt64(identifier) && number(payload[4..<8]) == 2)
    #expect(number(payload[8..<16]) == 4096 && number(payload[16..<24]) == 0)
    #expect(number(payload[24..<32]) == 4096 && number(payload[32..<40]) == 3)
  }

  @Test func `REQ_ONE gives one extent, not longer than the request`() throws {
    let single = try SingleSite(history: "1h")
    for headers in [RawSession.Headers.structured, .extended] {
      let session = try session(single, headers, contexts: ["base:allocation"])
      session.send(blockStatus, flags: 8, cookie: 1, offset: 4096, length: 1000)
      let payload = try #require(try session.reply().first?.payload)
      let length =
        headers == .extended ? number(payload[8..<16]) : number(payload[4..<8])
      #expect(length == 1000)
      #expect(payload.count == (headers == .extended ? 8 + 16 : 4 + 8))
    }
  }

  @Test func `block status without a selected context is refused`() throws {
    let single = try SingleSite()
    for contexts in [[], ["base:nothing", "tapline:changed-since:1970-01-02T00:00:00Z"]] {
      let session = try session(single, contexts: contexts)
      #expect(session.contexts.isEmpty && session.transmissionFlags & 0x1000 == 0)
      session.send(blockStatus, cookie: 1, length: 4096)
      #expect(try session.receive().error == 22)
    }
  }

  /// Its records fill the smaller journal, so it has to wait for apply.
  @Test(arguments: [(4, "1M", "64M"), (6, "64K", "256K")])
  func `a request over many TiB fits a small journal and holds nobody up`(
    command: Int, segmentSize: String, capacity: String
  ) throws {
    let size = 15 << 40
    let single = try SingleSite(size: size, history: "1h", segmentSize: segmentSize) {
      $0.configuration.groups[0].journalCapacity = capacity
    }
    let other = try single.site.connect("disk")
    try other.write([1, 2, 3], at: UInt64(size - 3))
    let session = try session(single, contexts: ["base:allocation"])
    session.send(command, cookie: 1, offset: 0, length: UInt64(size - 2))
    // Written behind it, or before it; answered in any case.
    try other.write([9], at: UInt64(size - 1))
    #expect(try session.reply().map(\.type) == [0])
    #expect(try other.read(at: UInt64(size - 3), count: 3) == [0, 2, 9])
    // The map is told in parts, because the index holds one extent for each record.
    var offset: UInt64 = 0
    while offset < UInt64(size - 512) {
      session.send(blockStatus, cookie: 2, offset: offset, length: UInt64(size) - offset)
      let payload = try #require(try session.reply().first?.payload)
      try #require(number(payload[16..<24]) & 2 == 2 && number(payload[8..<16]) >= 1 << 40)
      offset += number(payload[8..<16])
    }
    #expect(offset == UInt64(size - 512))
  }

  @Test func `a stream of random requests is answered one by one or cut off`() throws {
    let single = try SingleSite(history: "1h")
    var generator = SeededGenerator(seed: testSeed(1))
    for headers in [RawSession.Headers.structured, .extended] {
      let session = try session(single, headers, contexts: ["base:allocation"])
      for cookie in 1...500 {
        let command = [0, 1, 3, 4, 5, 6, 7, 8, 9].randomElement(using: &generator)!
        let flags = Int.random(in: 0..<64, using: &generator)
        let length = Int.random(in: 0...5000, using: &generator)
        let hasPayload =
          command == write || headers == .extended && flags & payloadLength != 0
        session.send(
          command, flags: flags, cookie: cookie,
          offset: UInt64.random(in: 0...(9 << 20), using: &generator), length: UInt64(length),
          payload: hasPayload ? generator.bytes(length) : [])
        let chunks = try session.reply()
        #expect(chunks.allSatisfy { $0.cookie == UInt64(cookie) })
      }
    }
    #expect(try single.site.connect("disk").size == 8 << 20)
  }
}
