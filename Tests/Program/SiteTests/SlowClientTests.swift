import Foundation
import TestSupport
import Testing

/// Proves that clients that stop in the middle cost the others nothing: neither their turn nor the
/// machine's memory.
@Suite(.scratch) struct SlowClientTests {
  private static let pieceBytes = 1 << 20

  @Test func `hundreds of stuck clients hold up no other, and hold little memory`() throws {
    let single = try SingleSite(size: 32 << 20) { site in
      site.configuration.limits = "{ connections: 1000, connections_per_disk: 1000, handshake: 1h }"
    }
    let site = single.site
    var generator = SeededGenerator(seed: testSeed(1))
    let image = generator.bytes(16 << 20)
    let worker = try site.connect("disk")
    for start in stride(from: 0, to: image.count, by: Self.pieceBytes) {
      try worker.write(Array(image[start..<start + Self.pieceBytes]), at: UInt64(start))
    }
    let before = try site.residentKibibytes()

    let silent = try (0..<100).map { _ in try SimpleSession(socket: site.socket) }
    let halfway = try (0..<100).map { index in
      let client = try SimpleSession(site.socket, "disk")
      let request = SimpleSession.request(
        .write, at: 20 << 20, count: 100_000, payload: [UInt8](repeating: 9, count: 100_000))
      try client.send(Array(request.prefix(index * 1000)))
      return client
    }
    // Each asks for 64 MiB that it does not take.
    let greedy = try (0..<100).map { _ in
      let client = try SimpleSession(site.socket, "disk")
      for index in 0..<64 {
        try client.send(
          SimpleSession.request(
            .read, at: index % 16 * Self.pieceBytes, count: Self.pieceBytes, cookie: index))
      }
      return client
    }
    for index in 0..<1000 {
      let bytes = generator.bytes(4096)
      try worker.write(bytes, at: UInt64(24 << 20 + index * 4096), fua: index % 10 == 0)
      let isSame = try worker.read(at: UInt64(24 << 20 + index * 4096), count: 4096) == bytes
      try #require(isSame)
    }
    // Of each of the greedy, one reply and what the limit of unsent bytes lets be made before it.
    let grown = try site.residentKibibytes() - before
    #expect(grown < 100 * 2048 + 100 * 256, "\(grown) KiB")

    // They have missed nothing.
    for index in 0..<64 {
      let piece = try greedy[50].takeReply(to: index, count: Self.pieceBytes)
      let start = index % 16 * Self.pieceBytes
      let isSame = piece == Array(image[start..<start + Self.pieceBytes])
      try #require(isSame)
    }
    try halfway[0].write([5], at: 0)
    try silent[0].open("disk")
    // What came of half a request was never carried out.
    #expect(try worker.read(at: 20 << 20, count: 4096) == [UInt8](repeating: 0, count: 4096))
  }

  @Test func `a client that takes its replies slowly gets them all`() throws {
    let single = try SingleSite(size: 4 << 20)
    var generator = SeededGenerator(seed: testSeed(2))
    let image = generator.bytes(4 << 20)
    let client = try SimpleSession(single.site.socket, "disk")
    try client.write(image, at: 0)
    // More in one request than the socket takes, and more requests than replies are made ahead.
    for index in 0..<16 {
      try client.send(SimpleSession.request(.read, count: image.count, cookie: index))
    }
    for index in 0..<16 {
      let header = try client.receive(16)
      #expect(number(header[8..<16]) == UInt64(index))
      var position = 0
      while position < image.count {
        let count = min(100_000, image.count - position)
        let isSame = try client.receive(count) == Array(image[position..<position + count])
        try #require(isSame)
        position += count
      }
    }
  }

  @Test func `a client that never reads what options are answered with is left unread`() throws {
    let single = try SingleSite { site in
      for index in 0..<40 { try site.addDisk("d\(index)", size: 1 << 20, role: .protected) }
    }
    let before = try single.site.residentKibibytes()
    let client = try SimpleSession(socket: single.site.socket, within: .seconds(1))
    // Each LIST has an answer of about 6 KiB.
    let list = Array("IHAVEOPT".utf8) + [0, 0, 0, 3, 0, 0, 0, 0]
    try client.send([0, 0, 0, 3])
    for _ in 0..<300 { try client.send(list) }
    try SimpleSession(single.site.socket, "disk").write([1], at: 0)
    #expect(try single.site.residentKibibytes() - before < 1024)
    // Every one is answered in the end.
    _ = try client.receive(18)
    var answers = 0
    while answers < 300 {
      let header = try client.receive(20)
      _ = try client.receive(Int(number(header[16..<20])))
      if number(header[12..<16]) == 1 { answers += 1 }
    }
  }
}
