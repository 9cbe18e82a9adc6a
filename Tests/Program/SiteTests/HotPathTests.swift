import Foundation
import TestSupport
import Testing

/// Proves what the path of a request costs in memory: it asks for none, and payload is written to
/// the journal from where the socket has put it.
///
/// Counted are the calls of malloc and its kin, and of mmap, by the threads on a request's way: the
/// loops, those for views, the front loop and the workers. A run of twice as many requests may cost
/// no more than the single one, but for what comes with the length of the journal and with time: a
/// new segment with its index (some 60 calls) and a step of apply (some 50).
@Suite(.scratch, .requiresReleaseBuild) struct HotPathTests {
  private static let slack = 125

  private struct Load: CustomStringConvertible {
    var rw: String
    var depth: Int
    var export = "disk"
    var options: [String] = []
    /// One call for each batch, even of 32, would be more than the slack.
    var requests = 4000
    var description: String { "\(rw) of \(export) at depth \(depth) \(options)" }
  }

  private let single: SingleSite
  private let counter: PathCounter

  init() throws {
    var made: PathCounter?
    single = try SingleSite(size: 32 << 20, segmentSize: "64M") { site in
      let counter = try PathCounter(in: site.scratch)
      made = counter
      site.environment = counter.environment
      site.configuration.groups[0].checkpointEvery = "0s"
      site.configuration.groups[0].applyEvery = "1s"
    }
    counter = try #require(made)
  }

  private func drive(_ load: Load, requests: Int, blockBytes: Int = 4096) throws {
    try run(
      "fio",
      [
        "--name=load", "--ioengine=nbd", "--uri=\(single.site.uri(load.export))",
        "--rw=\(load.rw)", "--bs=\(blockBytes)", "--iodepth=\(load.depth)", "--size=16m",
        "--thread", "--norandommap", "--io_size=\(requests * blockBytes)",
      ] + load.options
    ).checked()
  }

  private func cost(_ load: Load, requests: Int) throws -> PathCounter.Counts {
    let threads = ["loop-", "views-", "front", "sync-", "disk0-"]
    let before = try counter.counts(single.site, threads: threads)
    try drive(load, requests: requests)
    return try counter.counts(single.site, threads: threads) - before
  }

  @Test(.requires("cc", "fio"))
  func `a request asks for no memory, whatever it is and however many are in flight`() throws {
    // Every block has its extent in the index from here on.
    try drive(Load(rw: "write", depth: 32), requests: 4096)
    let loads = [
      Load(rw: "randwrite", depth: 1),
      Load(rw: "randwrite", depth: 32),
      Load(rw: "randwrite", depth: 1, options: ["--fsync=1"], requests: 400),
      Load(rw: "randwrite", depth: 32, options: ["--fsync=16"]),
      Load(rw: "randtrim", depth: 32),
      Load(rw: "randread", depth: 1),
      Load(rw: "randread", depth: 32),
      Load(rw: "randread", depth: 32, export: "disk@latest"),
      Load(rw: "randrw", depth: 32, options: ["--fsync=16"]),
    ]
    for load in loads {
      let once = try cost(load, requests: load.requests)
      let twice = try cost(load, requests: 2 * load.requests)
      let more = twice - once
      #expect(more.allocations < Self.slack, "\(load): \(once) \(twice)")
      #expect(more.mappings < 10, "\(load): \(once) \(twice)")
    }
  }

  @Test(.requires("cc", "fio"), arguments: [(4096, 1), (4096, 32), (65536, 16), (1 << 20, 4)])
  func `payload is journaled from where the socket has put it`(blockBytes: Int, depth: Int)
    throws
  {
    let payload = 32 << 20
    let before = try counter.counts(single.site, threads: ["loop-"])
    try drive(
      Load(rw: "randwrite", depth: depth), requests: payload / blockBytes,
      blockBytes: blockBytes)
    let cost = try counter.counts(single.site, threads: ["loop-"]) - before
    // What was moved is the beginning of a request that met the end of the buffer.
    #expect(cost.bytesInPlace > payload / 100 * 99, "\(cost)")
    // The rest is zeros up to the end of a page, and headers that had arrived before their payload.
    #expect(cost.bytesElsewhere < cost.writes * 4096 + payload / 100, "\(cost)")
  }
}
