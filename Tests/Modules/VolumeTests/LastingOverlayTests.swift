import BlockModel
import Journal
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

@testable import Volume

/// Proves that what apply saves for a branch is there after a power cut once it was settled, that
/// nothing else is taken for it, and that a loss is not forgotten.
@Suite struct LastingOverlayTests {
  typealias Overlay = SavedExtents<FaultyFile>

  let storage = FaultyStorage(seed: 3)
  let identity = [UInt8](repeating: 7, count: 16)
  let disk = DiskNumber(0)

  private func create() throws {
    try Overlay.createLasting("saved", in: storage, identity: identity)
  }

  private func open(
    _ storage: FaultyStorage? = nil, identity: [UInt8]? = nil, limit: UInt64 = 1 << 30
  ) throws -> Overlay {
    try Overlay(
      lasting: try (storage ?? self.storage).open("saved"), identity: identity ?? self.identity,
      diskCount: 2, budget: ScratchBudget(byteLimit: limit))
  }

  @Test(arguments: UInt64(0)..<40)
  func `what was settled outlives a power cut, and what was not is whole or not there`(
    seed: UInt64
  ) throws {
    let storage = FaultyStorage(seed: seed)
    var random = SeededGenerator(seed: seed)
    try Overlay.createLasting("saved", in: storage, identity: identity)
    let size = 5000
    var settled = [[UInt8?]](repeating: .init(repeating: nil, count: size), count: 2)
    for _ in 0..<4 {
      let overlay = try open(storage)
      var expected = settled
      var versions = [expected]
      for _ in 0..<random.below(12) {
        // As apply does: never where something is stored.
        let disk = random.below(2)
        let offset = random.below(size - 1)
        let free = expected[disk][offset...].prefix { $0 == nil }.count
        guard free > 0 else { continue }
        let count = 1 + random.below(min(free, 700))
        if random.chance(25) {
          try overlay.storeZeros(
            disk: DiskNumber(UInt16(disk)),
            ByteRange(start: UInt64(offset), length: UInt64(count)))
          expected[disk].replaceSubrange(
            offset..<offset + count, with: repeatElement(0, count: count))
        } else {
          let bytes = random.bytes(count)
          try overlay.store(bytes, disk: disk, at: offset)
          expected[disk].replaceSubrange(offset..<offset + count, with: bytes.map { $0 })
        }
        versions.append(expected)
        if random.chance(30) {
          try overlay.settle()
          settled = expected
          versions = [expected]
        }
      }
      storage.crash()
      let reopened = try open(storage)
      #expect(!reopened.isLost)
      let found = try (0..<2).map { try reopened.contents(disk: $0, count: size) }
      #expect(versions.contains(found))
      settled = found
    }
  }

  @Test func `a torn entry at the end is not there, and the log goes on in its place`() throws {
    try create()
    let overlay = try open()
    try overlay.store([1, 2, 3], disk: 0, at: 0)
    try overlay.settle()
    try overlay.store([4, 5, 6], disk: 0, at: 10)
    let file = try storage.open("saved")
    try file.syncData()
    file.damage(file.bytes.count - 1) { $0 ^ 1 }
    let reopened = try open()
    #expect(try reopened.contents(disk: 0, count: 14).compactMap { $0 } == [1, 2, 3])
    try reopened.store([7], disk: 0, at: 12)
    try reopened.settle()
    #expect(try open().contents(disk: 0, count: 14).compactMap { $0 } == [1, 2, 3, 7])
  }

  @Test func `a loss is noted, and every opening says so`() throws {
    try create()
    let overlay = try open(limit: 1000)
    let error = #expect(throws: VolumeError.self) {
      try overlay.store([UInt8](repeating: 1, count: 2000), disk: 0, at: 0)
    }
    try overlay.giveUpForGood(try #require(error))
    #expect(overlay.isLost)
    storage.crash()
    #expect(try open().isLost)
  }

  @Test func `a loss that cannot be noted is told: nothing may be written over then`() throws {
    try create()
    let overlay = try open()
    storage.faults.fail(.sync, with: .io)
    #expect(throws: VolumeError.self) { try overlay.giveUpForGood(.scratch(.noSpace)) }
    #expect(!overlay.isLost)
  }

  @Test func `a failed sync settles nothing, and the next one does not either`() throws {
    try create()
    let overlay = try open()
    try overlay.store([1], disk: 0, at: 0)
    storage.faults.fail(.sync, with: .io)
    #expect(throws: VolumeError.self) { try overlay.settle() }
    #expect(throws: VolumeError.self) { try overlay.settle() }
  }

  @Test func `a loss that was only told must still be noted`() throws {
    try create()
    let overlay = try open()
    overlay.giveUp(.scratch(.io))
    #expect(overlay.isLost && overlay.mustNoteLoss)
    try overlay.giveUpForGood(.scratch(.io))
    #expect(!overlay.mustNoteLoss)
  }

  @Test func `the file of another branch is not this one's`() throws {
    try create()
    #expect(try open(identity: [UInt8](repeating: 8, count: 16)).isLost)
  }

  @Test func `what it holds counts against the limit after it is opened again`() throws {
    try create()
    let overlay = try open()
    try overlay.store([UInt8](repeating: 1, count: 3000), disk: 1, at: 0)
    try overlay.storeZeros(disk: disk, ByteRange(start: 0, length: 1 << 40))
    try overlay.settle()
    let bytes = overlay.byteCount
    #expect(try open().byteCount == bytes && bytes == 3512)
  }
}
