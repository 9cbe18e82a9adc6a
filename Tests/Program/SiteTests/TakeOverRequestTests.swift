import Foundation
import TestSupport
import Testing

/// Proves that a request is executed once and answered once when a hand-over meets it half-way:
/// arrived in part, in the journal in part, or answered and not read.
@Suite(.scratch) struct TakeOverRequestTests {
  private static let size = 64 << 20
  private static let (read, write, flush, trim, zero) = (0, 1, 3, 4, 6)
  private static let fua = 1
  private static let hasPayload = 32

  /// Where a request is cut: bytes of its header, or of its payload behind the whole header.
  enum Cut: CustomTestStringConvertible {
    case header(Int)
    case payload(Int)
    var testDescription: String {
      switch self {
      case .header(let count): "\(count) bytes of the header"
      case .payload(let count): "\(count) bytes of the payload"
      }
    }
  }

  private static let cuts: [Cut] = [
    .header(1), .header(27), .payload(0), .payload(1), .payload(40_000),
    // Records of the first pieces are in the journal by then.
    .payload(1 << 20), .payload((2 << 20) + 12345), .payload((5 << 20) - 1),
  ]

  @Test(arguments: [RawSession.Headers.structured, .extended], cuts)
  func `a write that has arrived in part`(_ headers: RawSession.Headers, _ cut: Cut) throws {
    let single = try SingleSite(size: Self.size, segmentSize: "8M")
    let session = try RawSession(single.site.socket, "disk", headers)
    var generator = SeededGenerator(seed: testSeed(1))
    let payload = generator.bytes(5 << 20)
    let flags = Self.fua | (headers == .extended ? Self.hasPayload : 0)
    let request = session.request(
      Self.write, flags: flags, cookie: 2, offset: 4097, length: UInt64(payload.count),
      payload: payload)
    let headerBytes = request.count - payload.count
    let count =
      switch cut {
      case .header(let count): count
      case .payload(let count): headerBytes + count
      }
    // A request before it: when that is answered, what came with it has arrived, too.
    session.send(
      session.request(Self.flush, cookie: 1, length: 0) + request.prefix(min(count, 60_000)))
    #expect(try session.receive().cookie == 1)
    if count > 60_000 { session.send(request[60_000..<count]) }
    try single.site.takeOver()
    try single.site.takeOver()
    session.send(request[count...])
    let reply = try session.receive()
    #expect(reply.cookie == 2)
    #expect(reply.error == nil)
    let client = try single.site.connect("disk")
    #expect(try client.read(at: 4097, count: payload.count) == payload)
    #expect(try client.read(at: 0, count: 4097).allSatisfy { $0 == 0 })
    // And the stream is where it should be.
    session.send(Self.write, flags: flags, cookie: 3, offset: 0, length: 3, payload: [1, 2, 3])
    #expect(try session.receive().cookie == 3)
    #expect(try client.read(at: 0, count: 4) == [1, 2, 3, 0])
  }

  @Test func `a refused write whose payload is still to come`() throws {
    let single = try SingleSite(size: 1 << 20)
    let session = try RawSession(single.site.socket, "disk", .structured)
    let request = session.request(
      Self.write, cookie: 9, offset: 1 << 30, length: 100_000,
      payload: [UInt8](repeating: 3, count: 100_000))
    session.send(session.request(Self.flush, cookie: 1, length: 0) + request.prefix(5000))
    #expect(try session.receive().cookie == 1)
    try single.site.takeOver()
    session.send(request[5000...])
    let reply = try session.receive()
    #expect(reply.cookie == 9)
    #expect(reply.error == 28)
    session.send(Self.flush, cookie: 10, length: 0)
    #expect(try session.receive().cookie == 10)
  }

  @Test func `replies that the client has not read`() throws {
    let single = try SingleSite(size: Self.size, segmentSize: "8M")
    let client = try single.site.connect("disk")
    var generator = SeededGenerator(seed: testSeed(2))
    var image: [UInt8] = []
    for index in 0..<16 {
      let piece = generator.bytes(4 << 20)
      try client.write(piece, at: UInt64(index * piece.count))
      image += piece
    }
    let session = try RawSession(single.site.socket, "disk", .structured)
    let count = 4 << 20
    for index in 0..<16 {
      session.send(
        Self.read, cookie: index, offset: UInt64(index * count), length: UInt64(count))
    }
    // The first bytes of the answers, so that the site is at work on them.
    var first: RawSession.Chunk? = try session.receive()
    try single.site.takeOver()
    try single.site.takeOver()
    var seen = [Int](repeating: 0, count: 16)
    while seen.contains(where: { $0 < count }) {
      let chunk = try first ?? session.receive()
      first = nil
      // Data with its offset in front; no hole is in random bytes.
      try #require(chunk.type == 1)
      let offset = Int(number(chunk.payload.prefix(8)))
      let data = chunk.payload.dropFirst(8)
      #expect(image[offset..<offset + data.count] == data, "at \(offset)")
      seen[Int(chunk.cookie)] += data.count
    }
    #expect(seen.allSatisfy { $0 == count })
  }

  @Test(arguments: [RawSession.Headers.structured, .extended])
  func `block status, zeroing and trim go on with the contexts of the handshake`(
    _ headers: RawSession.Headers
  ) throws {
    let single = try SingleSite(size: Self.size)
    let session = try RawSession(
      single.site.socket, "disk", headers, contexts: ["base:allocation"])
    let flags = headers == .extended ? Self.hasPayload : 0
    session.send(
      Self.write, flags: flags, cookie: 1, offset: 0, length: 1 << 20,
      payload: [UInt8](repeating: 1, count: 1 << 20))
    #expect(try session.receive().cookie == 1)
    try single.site.takeOver()
    session.send(Self.trim, cookie: 2, offset: 0, length: 512 << 10)
    #expect(try session.receive().cookie == 2)
    session.send(7, cookie: 3, offset: 0, length: 1 << 20)
    let status = try session.receive()
    #expect(status.cookie == 3)
    let context = try #require(session.contexts["base:allocation"])
    #expect(number(status.payload.prefix(4)) == UInt64(context))
    // Zeros first, then data: two extents at least.
    #expect(status.payload.count >= (headers == .extended ? 8 + 2 * 16 : 4 + 2 * 8))
  }

  @Test func `a client that has said goodbye gets its last replies`() throws {
    let single = try SingleSite(size: Self.size, segmentSize: "8M")
    let client = try single.site.connect("disk")
    var generator = SeededGenerator(seed: testSeed(5))
    let image = generator.bytes(16 << 20)
    try client.write(image, at: 0)
    let session = try RawSession(single.site.socket, "disk", .structured)
    session.send(
      session.request(Self.read, cookie: 1, length: 4096)
        + session.request(Self.read, cookie: 2, length: UInt64(image.count))
        + session.request(2, cookie: 3, length: 0))
    #expect(try session.receive().cookie == 1)
    try single.site.takeOver()
    var data: [UInt8] = []
    while data.count < image.count { data += try session.receive().payload.dropFirst(8) }
    #expect(data == image)
    #expect(try session.isClosedByPeer())
  }

  @Test func `a write that waits for room in a full journal`() throws {
    let pair = try SitePair(disks: ["disk": 8 << 20]) { east, west in
      for site in [east, west] { site.configuration.groups[0].segmentSize = "64K" }
      east.configuration.groups[0].journalCapacity = "1M"
      east.configuration.groups[0].onFull = "block"
    }
    pair.cable.cut()
    let history = WriteHistory(sectors: 16384)
    let load = WriteLoad(pair.east.uri("disk"), history: history)
    try eventually("the journal is full") { try isFull(pair) }
    try pair.east.takeOver()
    try eventually("the journal is full still") { try isFull(pair) }
    pair.cable.join()
    try load.makeProgress(200)
    try pair.expectNothingLost(by: load, history)
  }

  private func isFull(_ pair: SitePair) throws -> Bool {
    let group = try TaplineContract.group("g", in: pair.east.status())
    return group["health"]?.string?.contains("the journal is full") ?? false
  }

  @Test(.requires("nbdkit"))
  func `a read that does not end in time keeps the old process`() throws {
    let scratch = try ScratchDirectory()
    let upstream = try scratch.socket("slow.sock")
    let server = try ChildProcess(
      "nbdkit", ["-f", "-U", upstream, "--filter=delay", "memory", "8M", "rdelay=12"],
      logs: scratch)
    try eventually("nbdkit listens") { RawConnection.isListening(unix: upstream) }
    let site = try Site("east", in: scratch)
    site.addDisk(
      "disk", size: 8 << 20, backing: "nbd+unix:///?socket=\(upstream)", role: .protected)
    try site.start()
    let session = try RawSession(site.socket, "disk", .structured)
    session.send(
      session.request(Self.read, cookie: 1, offset: 4096, length: 512)
        + session.request(Self.flush, cookie: 2, length: 0))
    #expect(try session.receive().cookie == 2)
    let refused = try site.failToTakeOver()
    #expect(refused.status == 1)
    #expect(refused.stderr.contains("did not end in time"), "\(refused)")
    #expect(try session.receive().cookie == 1)
    session.send(Self.flush, cookie: 3, length: 0)
    #expect(try session.receive().cookie == 3)
    server.kill()
  }
}
