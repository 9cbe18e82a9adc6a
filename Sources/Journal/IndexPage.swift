import SystemIO

/// One page of an index file: extents of one disk in ascending order, or the first starts of the
/// pages below it. Byte by byte in `docs/index-format.md`; all integers are big-endian.
///
/// It is immutable once it has been filled, so any thread may read it.
@safe
final class IndexPage: @unchecked Sendable {
  /// In front of the entries: their number (16), height (8), zero (8), disk (16), zero (16).
  static let headerByteCount = 8
  static let sumByteCount = 4
  /// Start, length and source, 64 bits each.
  static let extentByteCount = 24
  /// First start (64) and page number (32).
  static let childByteCount = 12

  /// Small segments have small indexes, which then still are trees of several pages.
  static func byteCount(segmentByteCount: Int) -> Int {
    segmentByteCount >= 1 << 20 ? 4096 : 256
  }

  static func capacity(byteCount: Int, height: Int) -> Int {
    (byteCount - headerByteCount - sumByteCount) / (height == 0 ? extentByteCount : childByteCount)
  }

  let byteCount: Int
  private nonisolated(unsafe) let memory: UnsafeMutableRawPointer

  init(byteCount: Int) {
    self.byteCount = byteCount
    unsafe memory = .allocate(byteCount: byteCount, alignment: 8)
  }

  deinit { unsafe memory.deallocate() }

  /// To be filled before anybody else knows of the page.
  var buffer: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: memory, count: byteCount)
  }

  var content: IndexPageContent { unsafe IndexPageContent(memory, byteCount: byteCount) }
}

/// The bytes of a page, wherever they are.
@unsafe
struct IndexPageContent {
  private let memory: UnsafeRawPointer
  private let byteCount: Int

  init(_ memory: UnsafeRawPointer, byteCount: Int) {
    unsafe self.memory = unsafe memory
    unsafe self.byteCount = byteCount
  }

  /// Whether it is page `number` of the file with this seed, of a disk.
  func verifies(number: UInt32, seed: UInt32, disk: Int) -> Bool {
    let position = unsafe byteCount - IndexPage.sumByteCount
    #if MUTANTS
      if Mutant.trustIndexPage.isOn {
        return unsafe count > 0 && self.disk == disk
          && count <= IndexPage.capacity(byteCount: byteCount, height: height)
      }
    #endif
    guard unsafe Self.sum(memory, position, number: number, seed: seed) == word32(at: position)
    else { return false }
    let limit = unsafe IndexPage.capacity(byteCount: byteCount, height: height)
    return unsafe count > 0 && count <= limit && self.disk == disk
  }

  static func sum(
    _ memory: UnsafeRawPointer, _ byteCount: Int, number: UInt32, seed: UInt32
  ) -> UInt32 {
    unsafe CRC32C.extend(seed ^ number, memory, count: byteCount)
  }

  var count: Int { unsafe Int(word16(at: 0)) }
  /// 0: its entries are extents.
  var height: Int { unsafe Int(memory.load(fromByteOffset: 2, as: UInt8.self)) }

  var disk: Int { unsafe Int(word16(at: 4)) }

  // MARK: Entries

  private var stride: Int {
    unsafe height == 0 ? IndexPage.extentByteCount : IndexPage.childByteCount
  }

  @inline(__always)
  func start(_ index: Int) -> UInt64 {
    unsafe word64(at: IndexPage.headerByteCount + index * stride)
  }

  func extent(_ index: Int) -> (start: UInt64, length: UInt64, source: UInt64) {
    let position = IndexPage.headerByteCount + index * IndexPage.extentByteCount
    return unsafe (word64(at: position), word64(at: position + 8), word64(at: position + 16))
  }

  func child(_ index: Int) -> UInt32 {
    unsafe word32(at: IndexPage.headerByteCount + index * IndexPage.childByteCount + 8)
  }

  /// The number of entries that start at or before `offset`.
  func rank(of offset: UInt64) -> Int {
    let stride = unsafe stride
    var low = 0
    var high = unsafe count
    while low < high {
      let middle = (low + high) / 2
      if unsafe word64(at: IndexPage.headerByteCount + middle * stride) <= offset {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }

  private func word64(at position: Int) -> UInt64 {
    unsafe UInt64(bigEndian: memory.loadUnaligned(fromByteOffset: position, as: UInt64.self))
  }

  private func word32(at position: Int) -> UInt32 {
    unsafe UInt32(bigEndian: memory.loadUnaligned(fromByteOffset: position, as: UInt32.self))
  }

  private func word16(at position: Int) -> UInt16 {
    unsafe UInt16(bigEndian: memory.loadUnaligned(fromByteOffset: position, as: UInt16.self))
  }
}
