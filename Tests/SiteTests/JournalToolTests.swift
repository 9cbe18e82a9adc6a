import Foundation
import TestSupport
import Testing

/// Proves that a journal directory can be inspected with no daemon, and that damage is found.
@Suite(.scratch) struct JournalToolTests {
  /// A site killed after it was told to keep history, and something that is in its journal.
  private func killedSite() throws -> (site: Site, directory: String, payload: [UInt8]) {
    let single = try SingleSite(size: 4 << 20, history: "1h", segmentSize: "1M")
    let site = single.site
    let client = try site.connect("disk")
    var generator = SeededGenerator(seed: testSeed(1))
    for block in 0..<100 { try client.write(generator.bytes(16384), at: UInt64(block * 16384)) }
    let payload = generator.bytes(4096)
    try client.write(payload, at: 12345)
    try site.checkpoint("marked").checked()
    for block in 0..<100 { try client.write(generator.bytes(16384), at: UInt64(block * 16384)) }
    try site.crash()
    let directory = try TaplineContract.journalDirectory(group: "g", site: site.configuration)
    return (site, directory, payload)
  }

  @Test func `an intact journal verifies, lists and dumps`() throws {
    let (site, directory, _) = try killedSite()
    try site.tapline(TaplineContract.journal("verify", directory)).checked()
    let list = try site.tapline(TaplineContract.journal("ls", directory)).checked()
    #expect(list.stdout.split(separator: "\n").count >= 3, "\(list)")
    let dump = try site.tapline(TaplineContract.journal("dump", directory)).checked()
    #expect(dump.stdout.contains("12345"))
    #expect(dump.stdout.contains("marked"))
  }

  @Test func `a byte that changed in the middle of a journal is found`() throws {
    let (site, directory, payload) = try killedSite()
    try flip(payload, in: directory)
    let verify = try site.tapline(TaplineContract.journal("verify", directory))
    #expect(verify.status != 0)
    #expect(!(verify.stdout + verify.stderr).isEmpty)
  }

  @Test func `inspecting changes nothing`() throws {
    let (site, directory, _) = try killedSite()
    let before = try digest(directory)
    for verb in ["ls", "verify", "dump"] {
      try site.tapline(TaplineContract.journal(verb, directory)).checked()
    }
    #expect(try digest(directory) == before)
    try site.start()
  }

  @Test func `a directory without a journal is refused`() throws {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    for verb in ["ls", "verify", "dump"] {
      let finished = try site.tapline(TaplineContract.journal(verb, scratch.file("none")))
      #expect(finished.status != 0)
      #expect(finished.stderr.contains(scratch.file("none")))
    }
  }

  /// Changes one bit in the middle of the first occurrence of `payload`.
  private func flip(_ payload: [UInt8], in directory: String) throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
      let url = URL(fileURLWithPath: "\(directory)/\(name)")
      guard var bytes = try? Data(contentsOf: url), let found = bytes.range(of: Data(payload))
      else { continue }
      bytes[found.lowerBound + payload.count / 2] ^= 0x10
      return try bytes.write(to: url)
    }
    Issue.record("the payload is in no file of \(directory)")
  }

  private func digest(_ directory: String) throws -> [String: Data] {
    var digest: [String: Data] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
      digest[name] = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(name)"))
    }
    return digest
  }
}
