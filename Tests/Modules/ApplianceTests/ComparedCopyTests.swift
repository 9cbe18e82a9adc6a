import BlockModel
import JournalTestSupport
import Storage
import StorageTesting
import TestSupport
import Testing
import Volume

@testable import Appliance
@testable import Journal
@testable import Replication

/// Over a real connection that breaks anywhere: a full copy onto a disk that has something already
/// ends with the owner's disk, whatever was there, and whatever is written meanwhile.
@Suite(.serialized) struct ComparedCopyTests {
  private static let block = Int(BlockDigest.blockByteCount)
  private static let disks = [5 * block + 7000, 2 * block]

  /// Few contents, so that a block often becomes what it was, or what the other side has.
  private static func fill(_ random: inout SeededGenerator, _ count: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(random.below(3)), count: count)
  }

  private static func writeBlock(_ sending: SendingGroup, _ random: inout SeededGenerator) throws {
    let disk = random.below(disks.count)
    let start = random.below((disks[disk] + block - 1) / block) * block
    let count = random.chance(80) ? min(block, disks[disk] - start) : 512
    try sending.write(.write(disk: disk, offset: start, fill(&random, count)))
  }

  /// As apply does with what records have changed.
  private static func apply(_ sending: SendingGroup, _ random: inout SeededGenerator) throws {
    for _ in 0..<random.below(4) { try writeBlock(sending, &random) }
    if random.chance(70) { try sending.applyAll() }
  }

  @Test(arguments: UInt64(0)..<30)
  func `whatever was there, and whatever is written meanwhile`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let sending = try SendingGroup(diskByteCounts: Self.disks, segmentByteCount: 256 << 10)
    for _ in 0..<12 { try Self.writeBlock(sending, &random) }
    try sending.applyAll()
    let site = try ReceivingSite(for: sending, seed: seed)
    site.needsBaseline = true
    for (store, present) in zip(site.group.stores, sending.history.last.disks) {
      for start in stride(from: 0, to: present.count, by: Self.block) {
        let end = min(start + Self.block, present.count)
        let bytes =
          random.chance(60) ? Array(present[start..<end]) : Self.fill(&random, end - start)
        try store.write(bytes, at: UInt64(start))
      }
    }
    sending.startLink(to: site.endpoint)
    for _ in 0..<random.below(8) {
      site.digestsPerStep = [0, 1, 3, .max][random.below(4)]
      site.receiveLimit = [100, 5000, 64 << 10, 1 << 20][random.below(4)]
      if random.chance(40) { site.bytesUntilCut = 1 + random.below(300_000) }
      for _ in 0..<random.below(30) {
        if !site.isConnected { sending.hurry() }
        try site.step()
      }
      try Self.apply(sending, &random)
    }
    (site.digestsPerStep, site.receiveLimit, site.bytesUntilCut) = (.max, 1 << 20, nil)
    try site.run {
      if !site.isConnected { sending.hurry() }
      return site.baselineEnd != nil && site.group.journal.appended == sending.journal.appended
    }
    #expect(try site.group.contents() == sending.history.last.disks)
  }

  @Test func `what both have is not sent, and the owner says how much that was`() throws {
    var random = SeededGenerator(seed: 1)
    let size = 40 * Self.block
    let sending = try SendingGroup(diskByteCounts: [size], segmentByteCount: 256 << 10)
    let site = try ReceivingSite(for: sending, seed: 1)
    site.needsBaseline = true
    let bytes = random.bytes(size)
    try sending.stores[0].write(bytes, at: 0)
    try site.group.stores[0].write(bytes, at: 0)
    try sending.stores[0].write([1, 2, 3], at: UInt64(7 * Self.block + 9))
    sending.startLink(to: site.endpoint)
    try site.run { site.baselineEnd != nil }
    #expect(site.group.stores[0].bytes == sending.stores[0].bytes)
    #expect(site.alikeByteCount == 39 << 16)
    #expect(try #require(sending.sender).monitor.snapshot.wireByteCount < 80_000)
    #expect(sending.log.contains("which had 2496K of 2560K already"))
  }
}
