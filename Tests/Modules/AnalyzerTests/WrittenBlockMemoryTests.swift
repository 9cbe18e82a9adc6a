import TestSupport
import Testing

@testable import Analyzer

/// Proves that overwritten bytes are counted exactly while the memory suffices, that it forgets by
/// age and by size as documented, and that it agrees with a plain set of sectors.
@Suite struct WrittenBlockMemoryTests {
  private static let mebibyte: UInt64 = 1 << 20

  private func note(
    _ memory: inout WrittenBlockMemory, _ start: UInt64, _ length: UInt64, second: UInt64 = 1000
  ) -> UInt64 {
    memory.note(start: start, end: start + length, second: second)
  }

  struct Case: Sendable, CustomStringConvertible {
    var first: (start: UInt64, length: UInt64)
    var second: (start: UInt64, length: UInt64)
    var overwritten: UInt64
    var description: String { "\(first) then \(second)" }
  }

  @Test(arguments: [
    Case(first: (0, 4096), second: (0, 4096), overwritten: 4096),
    Case(first: (0, 4096), second: (4096, 4096), overwritten: 0),
    Case(first: (0, 8192), second: (4096, 8192), overwritten: 4096),
    Case(first: (0, 512), second: (512, 512), overwritten: 0),
    Case(first: (0, 512), second: (0, 4096), overwritten: 512),
    Case(first: (3584, 1024), second: (0, 8192), overwritten: 1024),
    Case(first: (0, 4096), second: (100, 200), overwritten: 200),
    Case(first: (0, 8192), second: (1000, 5000), overwritten: 5000),
    Case(first: (4095, 2), second: (4000, 200), overwritten: 200),
    Case(first: (1_048_576, 1), second: (1_048_575, 1), overwritten: 0),
  ])
  func overlapIsCountedBySector(example: Case) {
    var memory = WrittenBlockMemory(diskBytes: 16 * Self.mebibyte)
    #expect(note(&memory, example.first.start, example.first.length) == 0)
    let overwritten = note(&memory, example.second.start, example.second.length)
    #expect(overwritten == example.overwritten)
  }

  @Test(arguments: [(600, true), (601, false)] as [(UInt64, Bool)])
  func blockIsForgottenByAge(age: UInt64, isKnown: Bool) {
    var memory = WrittenBlockMemory(diskBytes: 16 * Self.mebibyte)
    _ = note(&memory, 0, 4096, second: 5000)
    #expect(note(&memory, 0, 4096, second: 5000 + age) == (isKnown ? 4096 : 0))
    #expect(note(&memory, 0, 4096, second: 5000 + age) == 4096)
  }

  @Test(arguments: [0, 1, 4, 100, 512] as [UInt64])
  func diskThatFitsIsRememberedWhole(mebibytes: UInt64) {
    let bytes = max(mebibytes * Self.mebibyte, 4096)
    var memory = WrittenBlockMemory(diskBytes: bytes)
    #expect(note(&memory, 0, bytes) == 0)
    #expect(note(&memory, 0, bytes) == bytes)
  }

  @Test func memoryIsBoundedAndForgetsTheOldest() {
    var memory = WrittenBlockMemory(diskBytes: 1 << 50)
    #expect(memory.capacity == WrittenBlockMemory.maximumPlaces)
    let remembered = UInt64(memory.capacity) * 4096
    _ = note(&memory, 0, remembered)
    _ = note(&memory, remembered, remembered)
    #expect(note(&memory, remembered, remembered) == remembered)
    #expect(note(&memory, 0, remembered) == 0)
  }

  @Test(
    arguments: [
      (0, 1024), (1023, 1024), (1024, 1024), (41_943, 32_768), (131_072, 131_072), (.max, 131_072),
    ] as [(Int, Int)])
  func tableIsNotLargerThanItMayBe(limit: Int, capacity: Int) {
    #expect(WrittenBlockMemory(diskBytes: 1 << 40, placeLimit: limit).capacity == capacity)
  }

  @Test func writtenAgainMeansRememberedLonger() {
    var memory = WrittenBlockMemory(diskBytes: 1 << 40)
    let sets = UInt64(memory.capacity / WrittenBlockMemory.placesPerSet)
    var known: UInt64 = 0
    // One hot block among many that are written once: it never becomes the one unused longest.
    for lap in 1...100 as ClosedRange<UInt64> {
      known += note(&memory, 0, 4096)
      _ = note(&memory, lap * sets * 4096, sets * 4096)
    }
    #expect(known == 99 * 4096)
  }

  @Test func endOfTheAddressSpaceIsHarmless() {
    var memory = WrittenBlockMemory(diskBytes: .max)
    #expect(note(&memory, .max - 4096, 4096) == 0)
    #expect(note(&memory, .max - 4096, 4096) == 4096)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func agreesWithASetOfSectors(seed: UInt64) {
    let diskSectors: UInt64 = 8192
    var memory = WrittenBlockMemory(diskBytes: diskSectors * 512)
    var written = Set<UInt64>()
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<2000 {
      let start = UInt64.random(in: 0..<diskSectors * 512, using: &generator)
      let longest = min(diskSectors * 512 - start, 40_000)
      let end = start + UInt64.random(in: 1...longest, using: &generator)
      var expected: UInt64 = 0
      for sector in start / 512...(end - 1) / 512 {
        let overlap = min(end, (sector + 1) * 512) - max(start, sector * 512)
        if !written.insert(sector).inserted { expected += overlap }
      }
      #expect(memory.note(start: start, end: end, second: 1) == expected)
    }
  }
}
