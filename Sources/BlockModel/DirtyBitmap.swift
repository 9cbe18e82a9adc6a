/// Which parts of a disk have changed: one bit for each chunk.
///
/// The words are 64 chunks each, the lowest bit first; word 0 begins at offset 0. They are also
/// the form in which a bitmap is kept in a file.
public struct DirtyBitmap: Equatable, Sendable {
  /// The most chunks of one bitmap: 512 MiB of words.
  public static let maximumChunkCount: UInt64 = 1 << 32

  /// Size of the disk, in bytes.
  public let sizeBytes: UInt64
  /// Size of a chunk, in bytes; a power of two. The last chunk may be shorter.
  public let chunkBytes: UInt64
  /// Number of chunks.
  public let chunkCount: Int
  /// Number of chunks that are dirty.
  public private(set) var dirtyChunkCount = 0
  /// The bits, for keeping them in a file.
  public private(set) var words: [UInt64]

  private let chunkShift: UInt64

  /// A bitmap with no dirty chunk.
  ///
  /// - Throws: `BlockModelError.chunkSizeNotPowerOfTwo`, `.tooManyChunks`.
  public init(sizeBytes: UInt64, chunkBytes: UInt64) throws(BlockModelError) {
    guard chunkBytes.nonzeroBitCount == 1 else {
      throw .chunkSizeNotPowerOfTwo(bytes: chunkBytes)
    }
    let shift = UInt64(chunkBytes.trailingZeroBitCount)
    let chunks = (sizeBytes >> shift) + (sizeBytes & (chunkBytes - 1) == 0 ? 0 : 1)
    guard chunks <= Self.maximumChunkCount, let chunkCount = Int(exactly: chunks) else {
      throw .tooManyChunks(count: chunks, limit: Self.maximumChunkCount)
    }
    self.sizeBytes = sizeBytes
    self.chunkBytes = chunkBytes
    self.chunkCount = chunkCount
    chunkShift = shift
    words = Array(repeating: 0, count: (chunkCount + 63) / 64)
  }

  /// A bitmap of `words` that were read from a file.
  ///
  /// - Throws: as `init(sizeBytes:chunkBytes:)`, and `BlockModelError.bitmapWordCount`,
  ///   `.bitmapBitsBehindEnd`.
  public init(
    validating words: [UInt64], sizeBytes: UInt64, chunkBytes: UInt64
  ) throws(BlockModelError) {
    try self.init(sizeBytes: sizeBytes, chunkBytes: chunkBytes)
    guard words.count == self.words.count else {
      throw .bitmapWordCount(found: words.count, expected: self.words.count)
    }
    if let last = words.last, chunkCount % 64 != 0, last >> UInt64(chunkCount % 64) != 0 {
      throw .bitmapBitsBehindEnd
    }
    self.words = words
    dirtyChunkCount = words.reduce(0) { $0 + $1.nonzeroBitCount }
  }

  /// The words of a map that was smaller.
  fileprivate mutating func take(_ others: [UInt64], _ dirtyChunkCount: Int) {
    words.replaceSubrange(..<others.count, with: others)
    self.dirtyChunkCount = dirtyChunkCount
  }

  /// True when no chunk is dirty.
  public var isClean: Bool { dirtyChunkCount == 0 }

  /// Size of all dirty chunks, in bytes.
  public var dirtyBytes: UInt64 {
    let full = UInt64(dirtyChunkCount) << chunkShift
    let tail = sizeBytes & (chunkBytes - 1)
    guard tail != 0, isChunkDirty(chunkCount - 1) else { return full }
    return full &- chunkBytes &+ tail
  }

  /// Makes every chunk dirty that `range` touches. `range` must lie inside the disk.
  public mutating func mark(_ range: ByteRange) {
    let chunks = chunksTouched(by: range)
    forEachMask(chunks) { words, index, mask, dirtyChunkCount in
      let added = mask & ~words[index]
      if added != 0 {
        words[index] |= added
        dirtyChunkCount += added.nonzeroBitCount
      }
    }
  }

  /// Makes every chunk clean that lies in `range` as a whole; one that `range` only touches stays
  /// as it is, for its other bytes may have changed. `range` must lie inside the disk.
  public mutating func clear(_ range: ByteRange) {
    let touched = chunksTouched(by: range)
    guard !touched.isEmpty else { return }
    let mask = chunkBytes - 1
    let first = touched.lowerBound + (range.start & mask == 0 ? 0 : 1)
    let endsChunk = range.end & mask == 0 || range.end == sizeBytes
    let end = touched.upperBound - (endsChunk ? 0 : 1)
    guard first < end else { return }
    forEachMask(first..<end) { words, index, mask, dirtyChunkCount in
      let removed = mask & words[index]
      words[index] &= ~removed
      dirtyChunkCount -= removed.nonzeroBitCount
    }
  }

  public mutating func markAll() { mark(ByteRange(start: 0, length: sizeBytes)) }

  public mutating func clearAll() { clear(ByteRange(start: 0, length: sizeBytes)) }

  /// Makes every chunk dirty that is dirty in `other`, a bitmap of the same shape.
  public mutating func formUnion(_ other: DirtyBitmap) {
    precondition(
      sizeBytes == other.sizeBytes && chunkBytes == other.chunkBytes,
      "bitmaps of different shapes")
    var dirty = 0
    for index in words.indices {
      words[index] |= other.words[index]
      dirty += words[index].nonzeroBitCount
    }
    dirtyChunkCount = dirty
  }

  /// True when `range` touches a dirty chunk. `range` must lie inside the disk.
  public func isDirty(_ range: ByteRange) -> Bool {
    let chunks = chunksTouched(by: range)
    return !chunks.isEmpty && nextChunk(from: chunks.lowerBound, dirty: true) < chunks.upperBound
  }

  /// The first run of dirty bytes at or after `offset`, joined from neighbouring chunks.
  ///
  /// - Parameters:
  ///   - offset: In bytes. In the middle of a dirty chunk, the run begins there.
  ///   - maximumLength: Bytes after which the run is cut, at least 1; bounds the time of the call
  ///     when a long run is taken in portions.
  /// - Returns: Nil when nothing is dirty from `offset` on.
  public func nextDirtyRange(
    from offset: UInt64, maximumLength: UInt64 = .max
  ) -> ByteRange? {
    precondition(maximumLength > 0, "a run has at least one byte")
    guard offset < sizeBytes else { return nil }
    let first = nextChunk(from: Int(offset >> chunkShift), dirty: true)
    guard first < chunkCount else { return nil }
    let start = max(UInt64(first) << chunkShift, offset)
    let limit = start + min(maximumLength, sizeBytes - start)
    let lastChunk = Int((limit - 1) >> chunkShift)
    let endChunk = nextChunk(from: first + 1, dirty: false, limit: lastChunk + 1)
    return ByteRange(
      start: start, end: endChunk > lastChunk ? limit : UInt64(endChunk) << chunkShift)
  }

  private func isChunkDirty(_ chunk: Int) -> Bool {
    words[chunk >> 6] >> UInt64(chunk & 63) & 1 == 1
  }

  @inline(__always)
  private func chunksTouched(by range: ByteRange) -> Range<Int> {
    precondition(
      range.start <= sizeBytes && range.length <= sizeBytes - range.start,
      "a range behind the end of the disk")
    guard !range.isEmpty else { return 0..<0 }
    return Int(range.start >> chunkShift)..<Int((range.end - 1) >> chunkShift) + 1
  }

  /// Calls `body` with the words, an index and the mask of those bits that belong to `chunks`.
  @inline(__always)
  private mutating func forEachMask(
    _ chunks: Range<Int>, _ body: (inout [UInt64], Int, UInt64, inout Int) -> Void
  ) {
    guard !chunks.isEmpty else { return }
    let firstWord = chunks.lowerBound >> 6
    let lastWord = (chunks.upperBound - 1) >> 6
    let head = UInt64.max << UInt64(chunks.lowerBound & 63)
    let tail = UInt64.max >> UInt64(63 - (chunks.upperBound - 1) & 63)
    for index in firstWord...lastWord {
      var mask = index == firstWord ? head : .max
      if index == lastWord { mask &= tail }
      body(&words, index, mask, &dirtyChunkCount)
    }
  }

  /// The first chunk at or after `chunk` that is dirty, or clean; `limit` when there is none.
  private func nextChunk(from chunk: Int, dirty: Bool, limit: Int? = nil) -> Int {
    let limit = limit ?? chunkCount
    guard chunk < limit else { return limit }
    let flip: UInt64 = dirty ? 0 : .max
    var index = chunk >> 6
    var word = (words[index] ^ flip) & (UInt64.max << UInt64(chunk & 63))
    while word == 0 {
      index += 1
      guard index << 6 < limit else { return limit }
      word = words[index] ^ flip
    }
    return min(index << 6 + word.trailingZeroBitCount, limit)
  }
}

extension DirtyBitmap {
  /// Makes it the map of a disk that is larger, with the same chunks; what is added is clean.
  /// Nothing happens when it has so many bytes already.
  public mutating func grow(to sizeBytes: UInt64) {
    guard sizeBytes > self.sizeBytes else { return }
    do throws(BlockModelError) {
      var larger = try DirtyBitmap(sizeBytes: sizeBytes, chunkBytes: chunkBytes)
      larger.take(words, dirtyChunkCount)
      self = larger
    } catch { preconditionFailure("a map of \(sizeBytes) bytes: \(error)") }
  }
}
