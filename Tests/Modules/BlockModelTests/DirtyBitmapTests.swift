import BlockModel
import TestSupport
import Testing

/// Proves that the bitmap names exactly the chunks that were touched, keeps a chunk dirty of which
/// only a part was cleared, and refuses stored words that do not fit the disk.
@Suite struct DirtyBitmapTests {
  private static let chunkBytes: UInt64 = 64

  /// What is dirty, read back run by run.
  private func runs(_ bitmap: DirtyBitmap, portion: UInt64 = .max) -> [ByteRange] {
    var runs: [ByteRange] = []
    var offset: UInt64 = 0
    while let run = bitmap.nextDirtyRange(from: offset, maximumLength: portion) {
      runs.append(run)
      offset = run.end
    }
    return runs
  }

  struct Disk: Sendable, CustomTestStringConvertible {
    let sizeBytes: UInt64
    var testDescription: String { "\(sizeBytes) bytes" }
  }

  /// One chunk, a short last chunk, whole words, one chunk more, and no word border at the end.
  static let disks = ([1, 64, 65, 4096, 4097, 12_783] as [UInt64]).map(Disk.init(sizeBytes:))

  @Test(arguments: disks, [1, 2, 3] as [UInt64])
  func randomMarksAndClearsAgreeWithAPlainArray(disk: Disk, seed: UInt64) throws {
    let size = disk.sizeBytes
    let chunks = Int((size + Self.chunkBytes - 1) / Self.chunkBytes)
    var generator = SeededGenerator(seed: seed)
    var bitmap = try DirtyBitmap(sizeBytes: size, chunkBytes: Self.chunkBytes)
    var model = Array(repeating: false, count: chunks)
    #expect(bitmap.chunkCount == chunks)

    for step in 0..<600 {
      let start = UInt64.random(in: 0...size - 1, using: &generator)
      let longest = min(size - start, generator.chance(20) ? size : 200)
      let range = ByteRange(start: start, length: UInt64.random(in: 0...longest, using: &generator))
      let clears = generator.chance(50)
      for chunk in 0..<chunks {
        let bytes = ByteRange(
          start: UInt64(chunk) * Self.chunkBytes,
          end: min(UInt64(chunk + 1) * Self.chunkBytes, size))
        if clears, range.contains(bytes) { model[chunk] = false }
        if !clears, !range.isEmpty, range.overlaps(bytes) { model[chunk] = true }
      }
      if clears { bitmap.clear(range) } else { bitmap.mark(range) }
      guard runs(bitmap) == Self.runs(of: model, size: size) else {
        Issue.record("step \(step): \(clears ? "clear" : "mark") \(range) went wrong")
        return
      }
      let bytes = Self.runs(of: model, size: size).reduce(0) { $0 + $1.length }
      #expect(bitmap.dirtyBytes == bytes)
      #expect(bitmap.isClean == (bytes == 0))
      let probe = ByteRange(start: start, length: min(size - start, 100))
      let isDirty = Self.runs(of: model, size: size).contains { $0.overlaps(probe) }
      #expect(bitmap.isDirty(probe) == isDirty)
    }
  }

  private static func runs(of model: [Bool], size: UInt64) -> [ByteRange] {
    var runs: [ByteRange] = []
    for (chunk, isDirty) in model.enumerated() where isDirty {
      let start = UInt64(chunk) * chunkBytes
      let end = min(start + chunkBytes, size)
      if let last = runs.last, last.end == start {
        runs[runs.count - 1] = ByteRange(start: last.start, end: end)
      } else {
        runs.append(ByteRange(start: start, end: end))
      }
    }
    return runs
  }

  @Test func aRunCanBeTakenInPortionsAndFromItsMiddle() throws {
    var bitmap = try DirtyBitmap(sizeBytes: 10_000, chunkBytes: 64)
    bitmap.mark(ByteRange(start: 640, length: 1_000))
    #expect(runs(bitmap) == [ByteRange(start: 640, end: 1_664)])
    #expect(
      runs(bitmap, portion: 500) == [
        ByteRange(start: 640, length: 500), ByteRange(start: 1_140, length: 500),
        ByteRange(start: 1_640, length: 24),
      ])
    #expect(bitmap.nextDirtyRange(from: 700) == ByteRange(start: 700, end: 1_664))
    #expect(bitmap.nextDirtyRange(from: 1_664) == nil)
    #expect(bitmap.nextDirtyRange(from: .max) == nil)
  }

  @Test func clearingAPartOfAChunkKeepsItDirty() throws {
    var bitmap = try DirtyBitmap(sizeBytes: 1_000, chunkBytes: 64)
    bitmap.markAll()
    #expect(bitmap.dirtyBytes == 1_000)
    bitmap.clear(ByteRange(start: 65, length: 127))
    #expect(runs(bitmap) == [ByteRange(start: 0, end: 128), ByteRange(start: 192, end: 1_000)])
    bitmap.clear(ByteRange(start: 960, length: 39))
    #expect(bitmap.isDirty(ByteRange(start: 960, length: 40)))
    bitmap.clear(ByteRange(start: 960, length: 40))
    #expect(!bitmap.isDirty(ByteRange(start: 960, length: 40)))
    bitmap.clearAll()
    #expect(bitmap.isClean)
  }

  @Test func theUnionHasWhatEitherHas() throws {
    var a = try DirtyBitmap(sizeBytes: 10_000, chunkBytes: 64)
    var b = a
    a.mark(ByteRange(start: 0, length: 100))
    b.mark(ByteRange(start: 64, length: 1))
    b.mark(ByteRange(start: 9_999, length: 1))
    a.formUnion(b)
    #expect(runs(a) == [ByteRange(start: 0, end: 128), ByteRange(start: 9_984, end: 10_000)])
    #expect(a.dirtyBytes == 144)
  }

  @Test func wordsBringBackTheSameBitmap() throws {
    var bitmap = try DirtyBitmap(sizeBytes: 10_000, chunkBytes: 64)
    bitmap.mark(ByteRange(start: 4_000, length: 3_000))
    bitmap.mark(ByteRange(start: 9_990, length: 10))
    let copy = try DirtyBitmap(validating: bitmap.words, sizeBytes: 10_000, chunkBytes: 64)
    #expect(copy == bitmap)
    #expect(copy.dirtyBytes == bitmap.dirtyBytes)
  }

  @Test(
    arguments: [
      (words: [0], size: 10_000, chunk: 64, error: .bitmapWordCount(found: 1, expected: 3)),
      (words: [0, 0], size: 4_096, chunk: 64, error: .bitmapWordCount(found: 2, expected: 1)),
      (words: [2], size: 64, chunk: 64, error: .bitmapBitsBehindEnd),
      (words: [0, 4], size: 4_097 + 64, chunk: 64, error: .bitmapBitsBehindEnd),
      (words: [], size: 64, chunk: 0, error: .chunkSizeNotPowerOfTwo(bytes: 0)),
      (words: [], size: 64, chunk: 96, error: .chunkSizeNotPowerOfTwo(bytes: 96)),
      (words: [], size: .max, chunk: 64, error: .tooManyChunks(count: 1 << 58, limit: 1 << 32)),
    ] as [(words: [UInt64], size: UInt64, chunk: UInt64, error: BlockModelError)])
  func wordsThatDoNotFitAreRefused(
    words: [UInt64], size: UInt64, chunk: UInt64, error: BlockModelError
  ) {
    #expect(throws: error) {
      try DirtyBitmap(validating: words, sizeBytes: size, chunkBytes: chunk)
    }
  }

  @Test func sizesAtTheEndsOfTheScaleWork() throws {
    let empty = try DirtyBitmap(sizeBytes: 0, chunkBytes: 64)
    #expect(empty.words.isEmpty)
    #expect(empty.nextDirtyRange(from: 0) == nil)

    var largest = try DirtyBitmap(sizeBytes: .max, chunkBytes: 1 << 63)
    largest.markAll()
    #expect(largest.dirtyBytes == .max)
    #expect(runs(largest) == [ByteRange(start: 0, end: .max)])
  }
}
