import Foundation
import TestSupport
import Testing

/// Proves that hundreds of clients at once are served right, that what is idle costs next to
/// nothing, and that tens of thousands of connections, whole or broken off anywhere, leave nothing
/// behind.
@Suite(.scratch, .serialized) struct ManyConnectionTests {
  private static let disks = ["a", "b", "c", "d"]
  private static let diskBytes = 16 << 20

  /// Two groups of two disks. The listener takes TLS too, by keys.
  private func site(history: String = "0s") throws -> Site {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    for (index, disk) in Self.disks.enumerated() {
      try site.addDisk(
        disk, size: Self.diskBytes, group: index < 2 ? "g" : "h", role: .protected)
    }
    let keys = scratch.file("keys")
    try scratch.secretFile("keys", "host:00112233445566778899aabbccddeeff\n")
    site.configuration.nbd = ["{ address: \"unix:\(site.socket)\", tls: optional, keys: \(keys) }"]
    try site.start()
    return site
  }

  // MARK: At once

  @Test(.requires("nbdinfo"))
  func `500 clients of four disks write and read at once, and each reads what it wrote`() throws {
    let site = try site()
    let uris = Self.disks.map(site.uri)
    let threads = 10
    let clientsOfThread = 50
    // Each has a part of its disk to itself.
    let share = 64 << 10
    let places = (0..<threads * clientsOfThread).map { number in
      (disk: number % Self.disks.count, offset: number / Self.disks.count * share)
    }
    let everyone = try places.map { try SimpleSession(site.socket, Self.disks[$0.disk]) }
    let seed = testSeed(1)
    try onThreads(threads) { thread in
      var generator = SeededGenerator(seed: seed + UInt64(thread))
      let own = thread * clientsOfThread..<(thread + 1) * clientsOfThread
      let (places, clients) = (places[own], everyone[own])
      for _ in 0..<2 {
        let images = clients.map { _ in generator.bytes(share) }
        for (client, (image, place)) in zip(clients, zip(images, places)) {
          for start in stride(from: 0, to: share, by: 4096) {
            try client.send(
              SimpleSession.request(
                .write, at: place.offset + start, count: 4096, cookie: start,
                payload: Array(image[start..<start + 4096])))
          }
        }
        for client in clients {
          for start in stride(from: 0, to: share, by: 4096) {
            _ = try client.takeReply(to: start)
          }
          try client.send(SimpleSession.request(.flush))
        }
        for (client, place) in zip(clients, places) {
          _ = try client.takeReply()
          try client.send(SimpleSession.request(.read, at: place.offset, count: share))
        }
        for (client, image) in zip(clients, images) {
          let isSame = try client.takeReply(count: share) == image
          try #require(isSame)
        }
      }
      // Clients of other kinds see the same.
      if thread == 0 { try run("nbdinfo", [uris[0]]).checked() }
      for (client, place) in zip(clients, places).prefix(3) {
        let library = try NBDClient(uris[place.disk])
        let seen = try library.read(at: UInt64(place.offset), count: share)
        let isSame = try client.read(at: place.offset, count: share) == seen
        try #require(isSame)
      }
    }
    try site.stop()
  }

  // MARK: Idle

  @Test func `an idle client costs a few kibibytes, also after it has been busy`() throws {
    let site = try site()
    func clients(_ count: Int) throws -> [SimpleSession] {
      try (0..<count).map { try SimpleSession(site.socket, Self.disks[$0 % Self.disks.count]) }
    }
    func work(_ clients: [SimpleSession]) throws {
      let payload = [UInt8](repeating: 7, count: 512 << 10)
      for client in clients {
        try client.write(payload, at: 0)
        _ = try client.read(at: 0, count: payload.count)
      }
    }
    try work(clients(20))
    let before = try site.residentKibibytes()
    let idle = try clients(500)
    let fresh = try site.residentKibibytes() - before
    #expect(fresh < 500 * 12, "\(fresh) KiB for 500 new clients")
    try work(idle)
    try eventually("500 idle clients give back what they used") {
      try site.residentKibibytes() - before < 500 * 12
    }
    try idle[499].write([1], at: 0)
  }

  // MARK: One after the other

  /// What a client does before it goes.
  private enum Visit: CaseIterable {
    case work, view, dropInHandshake, dropInRequest, breakTLS
  }

  private func visit(
    _ socket: String, _ visit: Visit, using generator: inout SeededGenerator
  ) throws {
    let disk = Self.disks[Int.random(in: 0..<Self.disks.count, using: &generator)]
    switch visit {
    case .work:
      let client = try SimpleSession(socket, disk)
      let offset = 4096 * Int.random(in: 0..<64, using: &generator)
      try client.write([UInt8](repeating: 1, count: 4096), at: offset)
    case .view:
      _ = try SimpleSession(socket, "\(disk)@latest").read(at: 0, count: 4096)
    case .dropInHandshake:
      let client = try SimpleSession(socket: socket)
      let opening = SimpleSession.opening(disk)
      try? client.send(Array(opening.prefix(.random(in: 0..<opening.count, using: &generator))))
    case .dropInRequest:
      let client = try SimpleSession(socket, disk)
      let request = SimpleSession.request(
        .write, at: 0, count: 4096, payload: [UInt8](repeating: 1, count: 4096))
      try client.send(Array(request.prefix(.random(in: 0..<request.count, using: &generator))))
    case .breakTLS:
      let client = try SimpleSession(socket: socket)
      try client.send(SimpleSession.startTLS)
      _ = try client.receive(18 + 20)
      try client.send(generator.bytes(.random(in: 1..<300, using: &generator)))
    }
  }

  @Test func `20,000 connections leave neither descriptors nor memory behind`() throws {
    let site = try site()
    let seed = testSeed(2)
    let socket = site.socket
    let threads = 16
    func visits(_ count: Int, _ round: UInt64) throws {
      try onThreads(threads) { thread in
        var generator = SeededGenerator(seed: seed + round * 100 + UInt64(thread))
        for index in 0..<count / threads {
          // Half of them are whole; one in sixteen needs TLS or a view, which take longer.
          let kind: Visit =
            switch index % 16 {
            case 0: .view
            case 1: .breakTLS
            case 2..<8: .dropInHandshake
            case 8..<11: .dropInRequest
            default: .work
            }
          try visit(socket, kind, using: &generator)
        }
      }
    }
    func descriptorsAreThose(of idle: (sockets: Int, others: Int)) throws {
      var now = idle
      do {
        try eventually("every connection's descriptor is closed") {
          now = try site.descriptorCounts()
          return now.sockets <= idle.sockets && now.others <= idle.others
        }
      } catch { throw RigError("\(error): \(now) instead of \(idle)") }
    }
    // Whoever answers has what it needs open by then.
    _ = try site.status()
    let idle = try site.descriptorCounts()
    try visits(4_000, 0)
    try descriptorsAreThose(of: idle)
    let warm = try site.residentKibibytes()
    try visits(20_000, 1)
    try descriptorsAreThose(of: idle)
    let growth = try site.residentKibibytes() - warm
    // A kibibyte a connection would be 20,000.
    #expect(growth < 4_000, "\(growth) KiB")
    try SimpleSession(site.socket, "a").write([1], at: 0)
  }
}
