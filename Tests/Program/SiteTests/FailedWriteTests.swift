import Foundation
import TestSupport
import Testing

/// Proves what follows when a write to a journal fails that is full, so that making room for one
/// request is what writes down another: the group fails and says so, the site goes on, and nobody
/// loses what was acknowledged, or a peer its records, for it.
@Suite(.scratch) struct FailedWriteTests {
  private static let block = 60_000
  private static let spacing = 64 << 10
  /// Writes behind it in a file fail; what is written of the state file and the log lies before it.
  private static let limit = 300 << 10

  private func site(_ scratch: ScratchDirectory, onFull: String?, peer: String) throws -> Site {
    let site = try Site("east", in: scratch)
    try site.addDisk("disk", size: 8 << 20, role: .protected)
    site.configuration.groups[0].segmentSize = "512K"
    site.configuration.groups[0].journalCapacity = "2M"
    // A marker would take the place of what is written here.
    site.configuration.groups[0].checkpointEvery = "0s"
    if let onFull {
      site.configuration.groups[0].peer = ("west", peer)
      site.configuration.groups[0].onFull = onFull
    }
    // Else the first such write ends the process, as no other error does.
    site.launcher = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]
    return site
  }

  private func limitFiles(of site: Site, to bytes: String) throws {
    let process = try #require(site.processIdentifier)
    try run("prlimit", ["--pid", "\(process)", "--fsize=\(bytes):"]).checked()
  }

  private func bytes(_ index: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(index + 1), count: Self.block)
  }

  private func conditions(_ site: Site) throws -> [String] {
    let group = try TaplineContract.group("g", in: site.status())
    return (group["conditions"]?.elements ?? []).compactMap { $0["code"]?.string }
  }

  /// What was logged while the group was closed.
  private func logWhileClosed(_ site: Site) -> Substring {
    let log = site.log
    guard let start = log.range(of: "group g has failed"),
      let end = log.range(of: "open again, and serves")
    else { return "" }
    return log[start.upperBound..<end.lowerBound]
  }

  /// Two requests in one turn: the first goes into what is left of the newest segment, and the
  /// second has no room.
  private func fail(_ site: Site, _ first: Int, _ second: Int, at offset: Int) throws {
    try limitFiles(of: site, to: "\(Self.limit)")
    let session = try RawSession(site.socket, "disk", .structured)
    let payloads = [first, second].map { [UInt8](repeating: 255, count: $0) }
    session.send(
      payloads.enumerated().flatMap { index, payload in
        session.request(
          1, cookie: index + 1, offset: UInt64(offset + index * Self.spacing),
          length: UInt64(payload.count), payload: payload)
      })
    #expect(throws: (any Error).self) { try session.receive() }
    try eventually("the group is open again") { logWhileClosed(site) != "" }
    try limitFiles(of: site, to: "unlimited")
    #expect(site.log.contains("has failed and serves nothing until it is opened again"))
    #expect(site.isRunning && site.log.contains("appending to segment"))
    try eventually("it is told") { try conditions(site).contains("group-reopened") }
  }

  private func expect(_ count: Int, _ site: Site) throws {
    let client = try site.connect("disk")
    for index in 0..<count {
      let read = try client.read(at: UInt64(index * Self.spacing), count: Self.block)
      #expect(read == bytes(index))
    }
    #expect(try client.read(at: 7 << 20, count: 1 << 20).allSatisfy { $0 == 0 })
  }

  @Test func `a full journal that cannot be written while writes wait`() throws {
    let scratch = try ScratchDirectory()
    let site = try site(scratch, onFull: "block", peer: "tcp:127.0.0.1:\(try unusedPort())")
    try site.start()
    let client = try site.connect("disk")
    var count = 0
    while true {
      let write = try client.submitWrite(bytes(count), at: UInt64(count * Self.spacing))
      let waits = try client.completions(of: [write], within: .seconds(1)).isEmpty
      if waits { break }
      count += 1
    }
    // All that is there is applied: what is staged next has to be written for the next step.
    try eventually("the rest waits for the peer") {
      try site.counter("applied") == count && conditions(site).contains("writes-wait")
    }
    try fail(site, 512, Self.block, at: 7 << 20)
    try expect(count, site)
  }

  /// With a history, there is something that could be applied in that moment, too.
  @Test(arguments: ["0s", "1h"])
  func `a journal that cannot be written gives up no records of a peer`(history: String) throws {
    let scratch = try ScratchDirectory()
    let site = try site(scratch, onFull: "degrade", peer: "tcp:127.0.0.1:\(try unusedPort())")
    site.configuration.groups[0].history = history
    try site.start()
    let client = try site.connect("disk")
    // The newest segment has just room for one more.
    for index in 0..<15 { try client.write(bytes(index), at: UInt64(index * Self.spacing)) }
    try eventually("nothing is left to do") {
      try site.counter(history == "0s" ? "applied" : "durable") == 15
    }
    try #require(!site.log.contains("they are dropped"))
    try fail(site, 40_000, Self.block, at: 7 << 20)
    #expect(!logWhileClosed(site).contains("they are dropped"), "\(site.log)")
    try expect(15, site)
  }
}
