import BlockModel
import SystemIO

/// Where one disk's extents are in an index file: pages that follow each other, of extents and of
/// what finds them; the last one is the root.
struct IndexTree: Equatable, Sendable {
  var extentCount: UInt64 = 0
  var firstPage: UInt32 = 0
  var root: UInt32 = 0
  /// Of the root; 0: it holds the extents itself.
  var height: UInt8 = 0
}

/// Where the pages of an index file are, and how they prove themselves.
struct IndexLayout: Equatable, Sendable {
  var pageByteCount: Int
  /// Of page 0, in bytes from the start of the file.
  var offset: UInt64
  /// What the sums of the pages start from: of no other file.
  var seed: UInt32
  /// By disk.
  var trees: [IndexTree] = []

  var extentCount: Int { trees.reduce(0) { $0 + Int($1.extentCount) } }
  /// Of the pages; the root of the last disk that has one is the last page.
  var pagesByteCount: Int {
    let pageCount = trees.reduce(0) { $1.extentCount > 0 ? max($0, Int($1.root) + 1) : $0 }
    return pageCount * pageByteCount
  }
}

/// Makes the pages of an index file, from extents in ascending order, one disk after the other.
/// Needs memory for one page of each height, and for what is not taken yet.
struct IndexTreeWriter {
  private(set) var layout: IndexLayout
  /// Pages that are done, behind those taken before.
  private(set) var done: [UInt8] = []
  private(set) var pageCount: UInt32 = 0
  private var tree: IndexTree
  /// The page under way of each height.
  private var open: [Page] = []

  private struct Page {
    var bytes: [UInt8]
    var count = 0
    var firstStart: UInt64 = 0
  }

  init(pageByteCount: Int, offset: UInt64, seed: UInt32) {
    layout = IndexLayout(pageByteCount: pageByteCount, offset: offset, seed: seed)
    tree = IndexTree()
  }

  mutating func append(_ extent: Extent) {
    tree.extentCount += 1
    let position = reserve(height: 0, start: extent.start)
    put(extent.start, 0, at: position)
    put(extent.length, 0, at: position + 8)
    put(extent.source.rawValue, 0, at: position + 16)
  }

  mutating func endDisk() {
    var height = 0
    while height < open.count {
      let number = finish(height: height)
      if height == open.count - 1 {
        tree.root = number
        tree.height = UInt8(height)
      } else {
        add(child: number, start: open[height].firstStart, height: height + 1)
      }
      height += 1
    }
    open = []
    layout.trees.append(tree.extentCount == 0 ? IndexTree() : tree)
    tree = IndexTree(firstPage: pageCount)
  }

  mutating func takeDone() -> [UInt8] {
    defer { done = [] }
    return done
  }

  private mutating func add(child: UInt32, start: UInt64, height: Int) {
    let position = reserve(height: height, start: start)
    put(start, height, at: position)
    for byte in 0..<4 {
      open[height].bytes[position + 8 + byte] = UInt8(
        truncatingIfNeeded: child >> UInt32(24 - 8 * byte))
    }
  }

  /// The place of a new entry; a page that is full goes first.
  private mutating func reserve(height: Int, start: UInt64) -> Int {
    if height == open.count {
      open.append(Page(bytes: [UInt8](repeating: 0, count: layout.pageByteCount)))
    }
    if open[height].count == IndexPage.capacity(byteCount: layout.pageByteCount, height: height) {
      let number = finish(height: height)
      add(child: number, start: open[height].firstStart, height: height + 1)
      open[height].count = 0
    }
    if open[height].count == 0 { open[height].firstStart = start }
    let stride = height == 0 ? IndexPage.extentByteCount : IndexPage.childByteCount
    defer { open[height].count += 1 }
    return IndexPage.headerByteCount + open[height].count * stride
  }

  private mutating func put(_ word: UInt64, _ height: Int, at position: Int) {
    unsafe open[height].bytes.withUnsafeMutableBytes {
      unsafe $0.storeBytes(of: word.bigEndian, toByteOffset: position, as: UInt64.self)
    }
  }

  /// Appends the page of this height to those that are done; returns its number.
  private mutating func finish(height: Int) -> UInt32 {
    let (number, seed, disk) = (pageCount, layout.seed, UInt16(layout.trees.count))
    let count = UInt16(open[height].count)
    let stride = height == 0 ? IndexPage.extentByteCount : IndexPage.childByteCount
    let used = IndexPage.headerByteCount + Int(count) * stride
    unsafe open[height].bytes.withUnsafeMutableBytes { bytes in
      unsafe bytes.storeBytes(of: count.bigEndian, as: UInt16.self)
      unsafe bytes.storeBytes(of: UInt8(height), toByteOffset: 2, as: UInt8.self)
      unsafe bytes.storeBytes(of: disk.bigEndian, toByteOffset: 4, as: UInt16.self)
      let end = bytes.count - IndexPage.sumByteCount
      for position in used..<end { unsafe bytes[position] = 0 }
      let sum = unsafe IndexPageContent.sum(
        UnsafeRawPointer(bytes.baseAddress.unsafelyUnwrapped), end, number: number, seed: seed)
      unsafe bytes.storeBytes(of: sum.bigEndian, toByteOffset: end, as: UInt32.self)
    }
    done += open[height].bytes
    pageCount += 1
    return number
  }
}
