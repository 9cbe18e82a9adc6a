import BlockModel
import Journal
import JournalTestSupport
import SystemIO
import TestSupport
import Testing
import Volume

/// The overlay gives back what was stored in it and nothing else, takes no more scratch space than
/// it was given, and says so when storing fails.
@Suite struct SavedExtentsTests {
  typealias Overlay = SavedExtents<FaultyFile>

  let storage = FaultyStorage(seed: 1)
  let disk = DiskNumber(0)

  func overlay(_ budget: ScratchBudget, disks: Int = 1) -> Overlay {
    Overlay(diskCount: disks, budget: budget) { [storage] () throws(Errno) -> FaultyFile in
      try storage.create("scratch", byteCount: 0)
    }
  }

  @Test(arguments: UInt64(0)..<10)
  func `equals a plain array of what was stored`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let budget = ScratchBudget(byteLimit: 1 << 30)
    let overlay = overlay(budget, disks: 2)
    var expected = [[UInt8?]](repeating: .init(repeating: nil, count: 9000), count: 2)
    for _ in 0..<60 {
      let disk = random.below(2)
      let offset = random.below(9000)
      let count = 1 + random.below(min(900, 9000 - offset))
      if random.chance(30) {
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
    }
    for disk in 0..<2 { #expect(try overlay.contents(disk: disk, count: 9000) == expected[disk]) }
    #expect(budget.usedByteCount == overlay.byteCount)
  }

  @Test func `knows whether a range has any stored byte`() throws {
    let overlay = overlay(ScratchBudget(byteLimit: 1 << 20))
    try overlay.store([1, 2, 3], disk: 0, at: 100)
    for (start, end, expected) in [
      (0, 100, false), (0, 101, true), (101, 102, true), (102, 500, true), (103, 500, false),
    ] as [(UInt64, UInt64, Bool)] {
      #expect(overlay.holdsAny(disk: disk, of: ByteRange(start: start, end: end)) == expected)
    }
  }

  @Test func `takes no file before the first byte, and none for zeros`() throws {
    let overlay = overlay(ScratchBudget(byteLimit: 1 << 20))
    try overlay.storeZeros(disk: disk, ByteRange(start: 0, length: 1 << 40))
    #expect(try storage.names() == [])
    try overlay.store([1], disk: 0, at: 7)
    #expect(try storage.names() == ["scratch"])
    #expect(try overlay.contents(disk: 0, count: 9) == [0, 0, 0, 0, 0, 0, 0, 1, 0])
  }

  @Test func `overlays share a limit and give back what they took`() throws {
    let budget = ScratchBudget(byteLimit: 10_000)
    let first = overlay(budget)
    try first.store([UInt8](repeating: 1, count: 6000), disk: 0, at: 0)
    do {
      let second = overlay(budget)
      try second.store([UInt8](repeating: 2, count: 4000), disk: 0, at: 0)
      #expect(budget.usedByteCount == 10_000)
      #expect(throws: VolumeError.self) { try first.store([3], disk: 0, at: 9000) }
    }
    #expect(budget.usedByteCount == 6000)
    try first.store([3], disk: 0, at: 9000)
    // What was refused is not there, and what was there still is.
    let contents = try first.contents(disk: 0, count: 9001)
    #expect(contents[0] == 1 && contents[6000] == nil && contents[9000] == 3)
  }

  @Test func `small extents and zeros count, so that the maps are bounded as well`() {
    let overlay = overlay(ScratchBudget(byteLimit: 64 << 10))
    var stored: UInt64 = 0
    while stored < 1000,
      (try? overlay.storeZeros(disk: disk, ByteRange(start: stored * 2, length: 1))) != nil
    { stored += 1 }
    #expect(stored == 128)
  }

  @Test(arguments: [Faults.Operation.write, .create])
  func `a failure to store changes nothing for readers`(operation: Faults.Operation) throws {
    let overlay = overlay(ScratchBudget(byteLimit: 1 << 20))
    storage.faults.fail(operation, with: .noSpace)
    let error = #expect(throws: VolumeError.self) {
      try overlay.store([1, 2, 3], disk: 0, at: 0)
    }
    #expect(error?.isScratch(.noSpace) == true)
    #expect(!overlay.holdsAny(disk: disk, of: ByteRange(start: 0, length: 3)))
    try overlay.store([4, 5], disk: 0, at: 1)
    #expect(try overlay.contents(disk: 0, count: 4) == [nil, 4, 5, nil])
  }

  /// Memory has forgotten them: what the disk has there is something else.
  @Test func `bytes that could not be written back are not served, now or later`() throws {
    let overlay = overlay(ScratchBudget(byteLimit: 1 << 20))
    try overlay.store([1, 2, 3], disk: 0, at: 0)
    #expect(try overlay.contents(disk: 0, count: 3) == [1, 2, 3])
    storage.faults.fail(.writeBack, with: .io)
    for _ in 0..<2 {
      let error = #expect(throws: VolumeError.self) { try overlay.contents(disk: 0, count: 3) }
      #expect(error?.isScratch(.io) == true)
    }
    #expect(overlay.isLost)
  }

  @Test func `keeps the first reason for which it was given up`() {
    let overlay = overlay(ScratchBudget(byteLimit: 0))
    #expect(!overlay.isLost && overlay.failure == nil)
    overlay.giveUp(.scratch(.noSpace))
    overlay.giveUp(.scratchFull(byteLimit: 0))
    #expect(overlay.isLost && overlay.failure?.isScratch(.noSpace) == true)
  }
}

extension VolumeError {
  func isScratch(_ errno: Errno) -> Bool {
    if case .scratch(errno) = self { true } else { false }
  }
}

extension SavedExtents {
  func store(_ bytes: [UInt8], disk: Int, at offset: Int) throws(VolumeError) {
    var failure: VolumeError?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(VolumeError) {
        try unsafe store(buffer, disk: DiskNumber(UInt16(disk)), at: UInt64(offset))
      } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// The disk's first bytes; nil where nothing is stored.
  func contents(disk: Int, count: Int) throws -> [UInt8?] {
    var contents: [UInt8?] = []
    while contents.count < count {
      let (length, source) = piece(
        disk: DiskNumber(UInt16(disk)), at: UInt64(contents.count),
        limit: UInt64(count - contents.count))
      var bytes = [UInt8](repeating: 0xEE, count: Int(length))
      if let source {
        let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Bool, VolumeError> in
          Result { () throws(VolumeError) in try unsafe read(source, into: buffer, waits: true) }
        }
        _ = try result.get()
      }
      contents += source == nil ? [UInt8?](repeating: nil, count: bytes.count) : bytes.map { $0 }
    }
    return contents
  }
}
