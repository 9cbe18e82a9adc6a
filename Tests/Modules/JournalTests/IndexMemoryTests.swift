import BlockModel
import JournalTestSupport
import Synchronization
import SystemIO
import TestSupport
import Testing

@testable import Journal

/// Proves that an index leaves memory whatever its records are like and whatever goes wrong, and
/// still says the same.
@Suite struct IndexMemoryTests {
  static let mapByteLimit = 4096

  static func group(seed: UInt64) throws -> TestGroup {
    var settings = TestGroup.Settings(diskByteCounts: [48 << 10])
    settings.capacityByteCount = 64 * settings.segmentByteCount
    settings.indexMapByteLimit = mapByteLimit
    settings.indexCacheByteLimit = 16 << 10
    settings.indexRecordLimit = 40
    return try TestGroup(seed: seed, settings)
  }

  /// Records without payload, of which a segment has hundreds, each an extent of its own.
  static func trim(_ group: TestGroup, segments: Int, isFull: Bool = false) throws {
    func keepIndex() {
      group.storage.faults.failAlways(.create, with: isFull ? .noSpace : nil)
      group.keepIndex()
      group.storage.faults.failAlways(.create, with: nil)
    }
    var random = SeededGenerator(seed: UInt64(segments))
    while group.journal.segmentCount < segments {
      let offset = 16 * random.below(3000)
      try group.record(.trim(disk: 0, offset: offset, length: 8))
      if group.journal.stamped.rawValue % 50 == 0 {
        try group.sync()
        keepIndex()
      }
    }
    try group.sync()
    keepIndex()
  }

  @Test(arguments: [
    (1, 32 << 10), (32, 32 << 10), (100, 10_485), (256, 4 << 10), (1000, 4 << 10),
  ])
  func manyGroupsMakeSmallerGenerations(groups: Int, recordLimit: Int) {
    let memory = IndexMemory()
    let storage = FaultyStorage(seed: 1)
    let shelves = (0..<groups).map { _ in IndexShelf(storage, memory) }
    #expect(memory.recordLimit == recordLimit)
    withExtendedLifetime(shelves) {}
  }

  @Test func aGroupThatEndsLeavesItsShare() {
    let memory = IndexMemory(recordLimit: 1 << 30)
    do { _ = (0..<3).map { _ in IndexShelf(FaultyStorage(seed: 1), memory) } }
    let last = IndexShelf(FaultyStorage(seed: 1), memory)
    #expect(memory.recordLimit == 1 << 20)
    withExtendedLifetime(last) {}
  }

  static func memory(_ group: TestGroup) -> Int { group.journal.indexUse.memoryByteCount }

  @Test func `small records take no more memory than large ones`() throws {
    let group = try Self.group(seed: 1)
    try Self.trim(group, segments: 20)
    #expect(Self.memory(group) <= Self.mapByteLimit)
    #expect(group.journal.indexUse.fileByteCount > 20 * 500 * 24)
    #expect(try group.contents() == group.history.last.disks)
    try group.restart(.kill)
    #expect(Self.memory(group) <= Self.mapByteLimit)
    #expect(try group.contents() == group.history.last.disks)
  }

  /// As when the file system is full for a while.
  @Test func `what could not be written stays in memory, and leaves it later`() throws {
    let group = try Self.group(seed: 2)
    try Self.trim(group, segments: 8, isFull: true)
    #expect(Self.memory(group) > 2 * Self.mapByteLimit)
    #expect(try group.contents() == group.history.last.disks)
    group.keepIndex()
    #expect(Self.memory(group) <= Self.mapByteLimit)
    let names = try group.storage.names().filter { $0.hasSuffix(".index") }
    #expect(names.count == 7)
    #expect(try group.contents() == group.history.last.disks)
  }

  /// What is written can be read as long as memory has it, and a disk may fail later.
  @Test func `files that can be written and not read do not end anything`() throws {
    let group = try Self.group(seed: 4)
    try Self.trim(group, segments: 6)
    #expect(group.journal.indexUse.fileByteCount > 0)
    // Of those, and of the files that are made of a scan in their place.
    group.storage.faults.failAlways(.scratchRead, with: .io)
    #expect(try group.contents() == group.history.last.disks)
    group.storage.faults.failAlways(.scratchRead, with: nil)
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test func `a scan in place of a sidecar that is gone goes to files, too`() throws {
    let group = try Self.group(seed: 3)
    try Self.trim(group, segments: 12)
    for name in try group.storage.names() where name.hasSuffix(".index") {
      let file = try group.storage.open(name)
      for position in file.bytes.indices { file.damage(position) { $0 ^ 1 } }
    }
    #expect(try group.contents() == group.history.last.disks)
    // Also of a start, which finds no sidecar.
    try group.restart(.kill)
    #expect(Self.memory(group) <= Self.mapByteLimit)
    #expect(try group.contents() == group.history.last.disks)
  }

  /// As those that ask each minute what has changed.
  @Test func `generations of one segment become one with its sidecar, but for held borders`() throws
  {
    let group = try Self.group(seed: 4)
    var borders: [SequenceNumber] = []
    func write(_ count: Int) throws {
      for _ in 0..<count {
        let value = UInt8(truncatingIfNeeded: group.journal.stamped.rawValue)
        try group.record(.write(disk: 0, offset: Int(value) * 16, [value]))
        if value % 16 == 0 { borders.append(try group.journal.addBorder()) }
      }
    }
    try write(200)
    for border in borders.dropFirst() { group.journal.removeBorder(border) }
    try group.journal.sealActive()
    try write(1)
    try group.sync()
    group.keepIndex()
    #expect(group.journal.generations.count > 1, "the first border is held")
    #expect(try group.contents() == group.history.last.disks)
    let later = group.journal.maps(after: borders[0])
    #expect(later.first?.span.firstSequence == borders[0].advanced(by: 1))
    group.journal.removeBorder(borders[0])
    #expect(group.journal.generations.count == 1)
    #expect(try group.contents() == group.history.last.disks)
    #expect(group.journal.checkpointCount == 0)
  }

  /// A file that notes who lets go of it.
  private final class WatchedFile: JournalFile {
    let ended: @Sendable () -> Void
    init(ended: @escaping @Sendable () -> Void) { self.ended = ended }
    deinit { ended() }
    func write(_ pieces: inout GatherList, at offset: UInt64) {}
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {}
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int { 0 }
    func readIfCached(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Bool {
      false
    }
    func syncData() {}
  }

  @Test func `whoever lets go of an index file last does not wait for its end`() throws {
    let thread = Monitor<UInt?>(nil)
    var scratch: ScratchIndex? = ScratchIndex(
      WatchedFile { thread.update { $0 = Thread.current } })
    #expect(scratch != nil)
    scratch = nil
    let ender = thread.wait { $0 }
    #expect(ender != Thread.current)
  }
}
