import Foundation
import TestSupport
import Testing

/// Proves that each limit of clients is kept, that who is turned away is told so, and that nobody
/// who keeps to the limits is kept out by those who do not.
@Suite(.scratch) struct ConnectionLimitTests {
  private func site(_ limits: String, disks: [String] = []) throws -> SingleSite {
    try SingleSite { site in
      site.configuration.limits = limits
      for disk in disks { try site.addDisk(disk, size: 1 << 20, role: .protected) }
    }
  }

  private func refusal(_ single: SingleSite, _ export: String) throws -> String {
    let error = #expect(throws: RigError.self) {
      _ = try SimpleSession(single.site.socket, export)
    }
    return "\(try #require(error))"
  }

  @Test func `a client too many is told which limit it is, and takes the place that comes free`()
    throws
  {
    let single = try site("{ connections: 3 }")
    let socket = single.site.socket
    var clients = try (0..<2).map { _ in try SimpleSession(socket, "disk") }
    // Clients of views count too.
    clients.append(try SimpleSession(socket, "disk@latest"))
    let told = try refusal(single, "disk")
    #expect(told.contains("the site serves no more clients: limits.connections is 3"))
    #expect(single.site.log.contains("a client was refused: the site serves no more clients"))
    clients.removeLast()
    try eventually("a place comes free") { (try? SimpleSession(socket, "disk")) != nil }
    try clients[0].write([7], at: 0)
  }

  @Test func `a disk's clients do not take the places of another's`() throws {
    let single = try site("{ connections_per_disk: 2 }", disks: ["other"])
    let clients = try (0..<2).map { _ in try SimpleSession(single.site.socket, "disk") }
    #expect(try refusal(single, "disk").contains("disk disk serves no more clients"))
    #expect(try refusal(single, "disk@latest").contains("limits.connections_per_disk is 2"))
    try SimpleSession(single.site.socket, "other").write([1], at: 0)
    try clients[1].write([2], at: 0)
  }

  @Test(.requires("nbdinfo", "qemu-io"))
  func `real clients say why, and a full site can still be listed`() throws {
    let single = try site("{ connections: 1 }")
    let client = try SimpleSession(single.site.socket, "disk")
    let refused = try run("qemu-io", ["-f", "raw", "-c", "read 0 512", single.uri])
    #expect("\(refused)".contains("limits.connections is 1"), "\(refused)")
    let listed = try run("nbdinfo", ["--list", "nbd+unix:///?socket=\(single.site.socket)"])
    #expect(try listed.checked().stdout.contains("disk"))
    try client.write([1], at: 0)
  }

  @Test func `silent clients are cut off after the time for the handshake, others are not`()
    throws
  {
    let single = try site("{ handshake: 0.5s }")
    let client = try SimpleSession(single.site.socket, "disk")
    let silent = try SimpleSession(socket: single.site.socket)
    let stuck = try SimpleSession(socket: single.site.socket)
    try stuck.send(Array(SimpleSession.opening("disk").dropLast()))
    #expect(try silent.isClosedByServer())
    #expect(try stuck.isClosedByServer())
    #expect(single.site.log.contains("a client has opened no export within 500ms"))
    try client.write([1], at: 0)
  }

  @Test func `silent clients, however many, keep nobody out`() throws {
    let single = try site("{ connections: 4, handshake: 1h }")
    let silent = try (0..<40).map { _ in try SimpleSession(socket: single.site.socket) }
    let clients = try (0..<4).map { _ in try SimpleSession(single.site.socket, "disk") }
    #expect(single.site.log.contains("4 clients have opened no export yet"))
    #expect(try silent[0].isClosedByServer())
    for client in clients { try client.write([1], at: 0) }
  }

  @Test(arguments: ["{ requests: 1 }", "{ requests: 3, bytes: 1M }", "{}"])
  func `a client that asks for more than the limits gets every reply in time`(limits: String)
    throws
  {
    let single = try site(limits)
    var generator = SeededGenerator(seed: testSeed(1))
    let image = generator.bytes(8 << 20)
    try SimpleSession(single.site.socket, "disk").write(image, at: 0)
    let client = try SimpleSession(single.site.socket, "disk")
    let count = 256 << 10
    var requests: [UInt8] = []
    for index in 0..<200 {
      requests += SimpleSession.request(.read, at: index % 32 * count, count: count, cookie: index)
      if index % 10 == 9 { requests += SimpleSession.request(.flush, cookie: 1000 + index) }
    }
    try client.send(requests)
    // Replies to flushes and to reads may overtake each other.
    var reads = 0
    var flushes = 0
    while reads + flushes < 220 {
      let header = try client.receive(16)
      let cookie = Int(number(header[8..<16]))
      try #require(number(header[4..<8]) == 0)
      if cookie >= 1000 {
        flushes += 1
      } else {
        let start = cookie % 32 * count
        let isSame = try client.receive(count) == Array(image[start..<start + count])
        try #require(isSame)
        reads += 1
      }
    }
    #expect(reads == 200)
    #expect(flushes == 20)
  }

  // MARK: Open files

  @Test(.requires("prlimit"))
  func `the limit of open files is raised to what the limits need`() throws {
    let single = try SingleSite { site in
      site.launcher = ["prlimit", "--nofile=64:20000"]
      site.configuration.limits = "{ connections: 2000 }"
    }
    #expect(try single.site.openFileLimit() >= 6000)
    let clients = try (0..<200).map { _ in try SimpleSession(single.site.socket, "disk") }
    for client in clients { try client.write([1], at: 0) }
  }

  @Test(.requires("prlimit"))
  func `a site without a descriptor for the next client serves the others, and it later`() throws {
    let single = try site("{}")
    let socket = single.site.socket
    let client = try SimpleSession(socket, "disk")
    // From here on the journal has a file.
    try client.write([1], at: 0)
    let pid = try #require(single.site.processIdentifier)
    func allow(_ count: Int) throws {
      try run("prlimit", ["--pid", "\(pid)", "--nofile=\(count):20000"]).checked()
    }
    let limit = try single.site.openFileLimit()
    try allow(8)
    let waiting = try SimpleSession(socket: socket)
    try waiting.send(SimpleSession.opening("disk"))
    try eventually("the log says why") {
      single.site.log.contains("cannot take a connection: Too many open files")
    }
    for index in 0..<100 { try client.write([UInt8(index)], at: index) }
    try allow(limit)
    // The greeting was all that was missing.
    #expect(try waiting.receive(8) == Array("NBDMAGIC".utf8))
  }

  @Test(.requires("prlimit", "setpriv"))
  func `where the system does not allow so many, the site says what to do and does not start`()
    throws
  {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("disk", size: 1 << 20, role: .protected)
    site.launcher = ["prlimit", "--nofile=512:512"]
    if geteuid() == 0 {
      // Who may exceed the hard limit does.
      site.launcher += [
        "setpriv", "--inh-caps=-sys_resource", "--bounding-set=-sys_resource",
      ]
    }
    let process = try site.launch()
    #expect(try process.wait() == .exited(1))
    #expect(site.log.contains("open files, and the system allows 512"), "\(site.log)")
    #expect(site.log.contains("LimitNOFILE"))
  }
}
