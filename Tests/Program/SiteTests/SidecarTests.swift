import Foundation
import TestSupport
import Testing

/// Proves that a site writes the sidecars of its journal's segments by itself, and starts with them
/// as it was.
@Suite(.scratch) struct SidecarTests {
  @Test func `site that was killed comes back with its sidecars`() throws {
    let single = try SingleSite(size: 4 << 20, history: "1h", segmentSize: "1M")
    let site = single.site
    // The journal has a file once there is a record.
    try site.connect("disk").write([1], at: 0)
    let directory = try TaplineContract.journalDirectory(group: "g", site: site.configuration)
    func sidecars() throws -> Int {
      try FileManager.default.contentsOfDirectory(atPath: directory)
        .count { $0.hasSuffix(".index") }
    }
    var generator = SeededGenerator(seed: testSeed(1))
    for round in 0..<3 {
      let client = try site.connect("disk")
      for _ in 0..<120 {
        let block = Int.random(in: 0..<256, using: &generator)
        try client.write(generator.bytes(16384), at: UInt64(block * 16384))
      }
      let image = try site.image("disk")
      // Two mebibytes a round; the last segment that is full has no successor yet.
      try eventually("sidecars of round \(round)") { try sidecars() > round }
      try site.crash()
      let verify = try site.tapline(TaplineContract.journal("verify", directory)).checked()
      #expect(!verify.stdout.contains(".index"), "\(verify)")
      try site.start()
      #expect(difference(try site.image("disk"), image) == nil)
    }
  }
}
