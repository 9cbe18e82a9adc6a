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

  @Test func `a journal that is written to, applied and recycled has no damage`() throws {
    let single = try SingleSite(segmentSize: "1M") {
      $0.configuration.groups[0].journalCapacity = "16M"
    }
    let history = WriteHistory(sectors: 16384)
    let load = WriteLoad(single.uri, history: history)
    try load.makeProgress(1)
    let journal = try TaplineContract.journalDirectory(
      group: "g", site: single.site.configuration)
    var outputs: Set<String> = []
    for _ in 0..<testRounds(8) {
      try load.makeProgress(300)
      let verify = try single.site.tapline(TaplineContract.journal("verify", journal)).checked()
      #expect(verify.stdout.contains("no damage"))
      outputs.insert(verify.stdout)
    }
    #expect(outputs.count > 1, "nothing has changed meanwhile")
    try load.stop()
    #expect(load.failure == nil)
  }

  @Test func `a bit that changes under a running site is found`() throws {
    let single = try SingleSite(size: 4 << 20, history: "1h", segmentSize: "1M")
    var generator = SeededGenerator(seed: testSeed(2))
    let payload = generator.bytes(4096)
    let client = try single.site.connect("disk")
    try client.write(payload, at: 12345)
    // Of a segment that others have followed it is known that it was durable.
    for block in 0..<150 { try client.write(generator.bytes(16384), at: UInt64(block * 16384)) }
    let journal = try TaplineContract.journalDirectory(
      group: "g", site: single.site.configuration)
    try flip(payload, in: journal)
    let verify = try single.site.tapline(TaplineContract.journal("verify", journal))
    #expect(verify.status == 1)
    #expect(verify.stderr.contains("does not verify"), "\(verify)")
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
      guard let bytes = try? Data(contentsOf: url), let found = bytes.range(of: Data(payload))
      else { continue }
      // A site may write to the rest of the file meanwhile.
      let file = try FileHandle(forUpdating: url)
      defer { try? file.close() }
      let place = found.lowerBound + payload.count / 2
      try file.seek(toOffset: UInt64(place))
      return try file.write(contentsOf: Data([bytes[place] ^ 0x10]))
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
