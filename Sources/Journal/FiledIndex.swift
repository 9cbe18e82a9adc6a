import BlockModel
import Synchronization
import SystemIO

/// An index file as its reader finds it. A simulator or a test supplies other files.
protocol IndexFileSource: Sendable {
  /// Blocks. What the file holds may be something else meanwhile: its pages tell.
  func open() throws(Errno) -> any JournalFile
}

/// The maps of a generation that are in a file: only its pages that were read lately are in memory.
/// Immutable; any thread. Whoever lets go of it last never waits for the file's end.
///
/// A page that cannot be read, or is not what was written, ends the use of the file. What stands in
/// its place knows the same: it gives the answers from then on.
final class FiledIndex: Sendable {
  /// What the file was made of.
  enum Fallback: Sendable {
    /// Generations that follow each other, oldest first.
    case parts([Generation])
    /// Reads the segment: gives generations that follow each other, oldest first. Blocks.
    case scan(@Sendable () throws(JournalError) -> [Generation])
  }

  typealias Piece = (length: UInt64, source: ExtentSource?)

  let layout: IndexLayout
  /// Nil: there is no file.
  private let source: (any IndexFileSource)?
  private let fallback: Fallback
  /// Without a file: where it has nothing, the fallback has nothing.
  private let outline: Generation?
  private let bounds: Bounds?
  private let cache: IndexPageCache
  private let identifier: UInt64
  private let isBroken: Atomic<Bool>
  /// What a scan gave.
  private let scanned = AtomicLazyReference<Scanned>()
  /// What keeps a scan from giving something, and until when.
  private let damage = Mutex<(error: JournalError, end: UInt64)?>(nil)
  /// What was damage may have been wrong of the moment, and a scan is long.
  private static let damageNanoseconds: UInt64 = 10_000_000_000
  /// The file's part in what the index takes.
  private let use: IndexUse?

  private final class Scanned: Sendable {
    let parts: [Generation]
    let cover: IndexCover

    init(_ parts: [Generation]) {
      self.parts = parts
      cover = IndexCover(parts)
    }
  }

  /// What the extents of a file that this process has not written must lie in.
  struct Bounds: Sendable {
    let segment: UInt32
    /// Of its records, in bytes.
    let end: UInt64
    /// Sizes in bytes.
    let disks: [UInt64]

    func hold(_ extent: Extent, disk: Int) -> Bool {
      let (source, length) = (extent.source, extent.length)
      guard length > 0, length <= disks[disk], extent.start <= disks[disk] - length else {
        return false
      }
      return source.isZeros
        || source.segment == segment && source.position > SegmentHeader.byteCount
          && length <= end && UInt64(source.position) <= end - length
    }
  }

  init(
    _ layout: IndexLayout, in source: any IndexFileSource, else fallback: Fallback,
    bounds: Bounds? = nil, cache: IndexPageCache, use: IndexUse? = nil
  ) {
    self.layout = layout
    self.bounds = bounds
    self.source = source
    self.fallback = fallback
    self.cache = cache
    outline = nil
    self.use = use
    isBroken = Atomic(false)
    identifier = cache.newFile()
    use?.add(fileByteCount: layout.pagesByteCount)
  }

  /// Without a file: what stands in its place is asked from the beginning.
  ///
  /// - Parameter outline: spares the scan where it has nothing.
  init(
    diskCount: Int, from fallback: Fallback, cache: IndexPageCache, outline: Generation? = nil
  ) {
    self.outline = outline
    layout = IndexLayout(
      pageByteCount: 0, offset: 0, seed: 0,
      trees: [IndexTree](repeating: IndexTree(), count: diskCount))
    (source, bounds, use) = (nil, nil, nil)
    self.fallback = fallback
    self.cache = cache
    isBroken = Atomic(true)
    identifier = 0
  }

  deinit { use?.add(fileByteCount: -layout.pagesByteCount) }

  private func open() throws(Errno) -> any JournalFile {
    guard let source else { throw .notFound }
    return try source.open()
  }

  // MARK: Looking up

  /// The way from a root down to the extent at an offset.
  private struct Descent {
    let disk: Int
    var page: UInt32
    var height: Int
    /// Where the next extent behind this page's begins.
    var bound = UInt64.max

    /// Whether the page is of the height and disk that its place in the tree has.
    func fits(_ page: IndexPage) -> Bool {
      unsafe page.content.height == height && page.content.disk == disk
    }

    /// Goes on to the page below, or gives the piece.
    mutating func step(_ page: IndexPage, at offset: UInt64, limit: UInt64) -> Piece? {
      let content = unsafe page.content
      let rank = unsafe content.rank(of: offset)
      let next = unsafe rank < content.count ? content.start(rank) : bound
      if height > 0, rank > 0 {
        bound = next
        self.page = unsafe content.child(rank - 1)
        height -= 1
        return nil
      }
      if rank > 0 {
        let extent = unsafe content.extent(rank - 1)
        let skipped = offset - extent.start
        if skipped < extent.length {
          let source = ExtentSource(rawValue: extent.source).advanced(by: skipped)
          return (min(extent.length - skipped, limit), source)
        }
      }
      return (min(next - offset, limit), nil)
    }
  }

  private func descent(_ disk: DiskNumber) -> Descent? {
    guard disk.index < layout.trees.count else { return nil }
    let tree = layout.trees[disk.index]
    if tree.extentCount == 0 { return nil }
    return Descent(disk: disk.index, page: tree.root, height: Int(tree.height))
  }

  /// Does not block: the source is `unresolved` where a page would have to be read.
  func piece(disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32) -> Piece {
    if isBroken.load(ordering: .relaxed) {
      switch fallback {
      case .parts(let parts):
        return IndexCover(parts).rawPiece(disk: disk, at: offset, limit: limit, floor: floor)
      case .scan:
        if let scanned = scanned.load() {
          return scanned.cover.rawPiece(disk: disk, at: offset, limit: limit, floor: floor)
        }
        let outlined = outline?.piece(disk: disk, at: offset, limit: limit, floor: floor)
        guard let outlined, outlined.source == nil else {
          return (outlined?.length ?? limit, .unresolved)
        }
        return outlined
      }
    }
    guard var descent = descent(disk) else { return (limit, nil) }
    while true {
      let key = IndexPageCache.Key(file: identifier, page: descent.page)
      guard let page = cache.page(key), descent.fits(page) else { return (limit, .unresolved) }
      if let piece = descent.step(page, at: offset, limit: limit) { return piece }
    }
  }

  /// As `piece`, but waits for the disk.
  func pieceWaiting(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32
  ) throws(JournalError) -> Piece {
    if !isBroken.load(ordering: .relaxed) {
      do throws(Errno) {
        return try readPiece(disk: disk, at: offset, limit: limit)
      } catch {
        giveUp(because: error)
        #if MUTANTS
          if Mutant.failForDescriptor.isOn, !Self.isOfFile(error) {
            throw .storage(error, doing: "opening an index file")
          }
        #endif
      }
    }
    switch fallback {
    case .parts(let parts):
      return try IndexCover(parts).rawPieceWaiting(
        disk: disk, at: offset, limit: limit, floor: floor)
    case .scan:
      var limit = limit
      if let outline, scanned.load() == nil {
        let outlined = try outline.pieceWaiting(
          disk: disk, at: offset, limit: limit, floor: floor)
        if outlined.source == nil { return outlined }
        limit = outlined.length
      }
      return try scan().cover.rawPieceWaiting(
        disk: disk, at: offset, limit: limit, floor: floor)
    }
  }

  private func readPiece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) throws(Errno) -> Piece {
    guard var descent = descent(disk) else { return (limit, nil) }
    var file: (any JournalFile)?
    while true {
      let page = try page(descent.page, descent.height, descent.disk, &file)
      if let piece = descent.step(page, at: offset, limit: limit) { return piece }
    }
  }

  private func page(
    _ number: UInt32, _ height: Int, _ disk: Int, _ file: inout (any JournalFile)?
  ) throws(Errno) -> IndexPage {
    let key = IndexPageCache.Key(file: identifier, page: number)
    if let page = cache.page(key) {
      guard unsafe page.content.height == height, unsafe page.content.disk == disk else {
        throw .io
      }
      return page
    }
    if file == nil { file = try open() }
    guard let open = file else { throw .io }
    let page = IndexPage(byteCount: layout.pageByteCount)
    let count = try unsafe open.read(into: page.buffer, at: position(ofPage: number))
    guard count == layout.pageByteCount, unsafe isOurs(page.content, number: number, disk: disk),
      unsafe page.content.height == height
    else { throw .io }
    cache.insert(page, key)
    return page
  }

  @unsafe
  private func isOurs(_ content: IndexPageContent, number: UInt32, disk: Int) -> Bool {
    guard unsafe content.verifies(number: number, seed: layout.seed, disk: disk) else {
      return false
    }
    #if MUTANTS
      let bounds = Mutant.trustRecycledPage.isOn ? nil : bounds
    #endif
    guard let bounds, unsafe content.height == 0 else { return true }
    for index in unsafe 0..<content.count {
      let (start, length, source) = unsafe content.extent(index)
      let extent = Extent(start: start, length: length, source: ExtentSource(rawValue: source))
      if !bounds.hold(extent, disk: disk) { return false }
    }
    return true
  }

  private func position(ofPage number: UInt32) -> UInt64 {
    layout.offset + UInt64(number) * UInt64(layout.pageByteCount)
  }

  /// Whether the error is one of the file, and not of the moment: no descriptors, no memory.
  static func isOfFile(_ error: Errno) -> Bool { error == .io || error == .notFound }

  /// The file is not used any more, if that is what the error says. In either case what stands in
  /// its place has the answer: a guest's read must not fail for want of a descriptor.
  private func giveUp(because error: Errno) {
    if Self.isOfFile(error) { isBroken.store(true, ordering: .relaxed) }
  }

  /// Not again for a while where the segment is damaged.
  private func scan() throws(JournalError) -> Scanned {
    if let known = scanned.load() { return known }
    guard case .scan(let scan) = fallback else { preconditionFailure("has parts") }
    if let known = damage.withLock({ $0 }), SystemClock.monotonicNanoseconds() < known.end {
      throw known.error
    }
    do throws(JournalError) { return scanned.storeIfNil(Scanned(try scan())) } catch {
      if case .damaged = error {
        let end = SystemClock.monotonicNanoseconds() + Self.damageNanoseconds
        damage.withLock { $0 = (error, end) }
      }
      throw error
    }
  }

  // MARK: All extents

  /// Those of a disk, one after the other, from the one on that has the byte at `offset` or is
  /// the next: newest cursors first, which is one mostly. Blocks.
  func cursors(disk: DiskNumber, from offset: UInt64) throws(JournalError) -> [ExtentCursor] {
    if !isBroken.load(ordering: .relaxed) {
      do throws(Errno) {
        guard let page = try leaf(disk: disk, at: offset) else { return [] }
        return [try ExtentCursor(FiledExtents(self, disk: disk.index, from: page))]
      } catch { giveUp(because: error) }
    }
    let parts =
      switch fallback {
      case .parts(let parts): parts
      case .scan: try scan().parts
      }
    var cursors: [ExtentCursor] = []
    for part in parts.reversed() { cursors += try part.cursors(disk: disk, from: offset) }
    return cursors
  }

  /// The page with the last extent that begins at or before `offset`; nil when there are none.
  private func leaf(disk: DiskNumber, at offset: UInt64) throws(Errno) -> UInt32? {
    let tree = layout.trees[disk.index]
    if tree.extentCount == 0 { return nil }
    if offset == 0 { return tree.firstPage }
    var (number, height) = (tree.root, Int(tree.height))
    var file: (any JournalFile)?
    while height > 0 {
      let page = try page(number, height, disk.index, &file)
      let content = unsafe page.content
      number = unsafe content.child(max(1, content.rank(of: offset)) - 1)
      height -= 1
    }
    return number
  }

  /// Reads a disk's extents in order, many pages at once. One thread.
  final class FiledExtents {
    private let index: FiledIndex
    private let disk: Int
    private let file: any JournalFile
    private let buffer: PageBuffer
    private let end: UInt32
    /// The first page behind those in the buffer.
    private var next: UInt32
    private var pagesInBuffer = 0
    private var page = -1
    private var entry = 0
    private var entryCount = 0

    fileprivate init(_ index: FiledIndex, disk: Int, from page: UInt32) throws(Errno) {
      self.index = index
      self.disk = disk
      let tree = index.layout.trees[disk]
      next = page
      end = tree.root + 1
      let pageCount = Int(end) - Int(page)
      if pageCount <= 0 { throw .io }
      let byteCount = min(64 << 10, pageCount * index.layout.pageByteCount)
      buffer = PageBuffer(byteCount: byteCount)
      file = try index.open()
    }

    private var pageByteCount: Int { index.layout.pageByteCount }

    private var content: IndexPageContent {
      unsafe IndexPageContent(
        UnsafeRawPointer(buffer.base + page * pageByteCount), byteCount: pageByteCount)
    }

    /// Nil at the end. Blocks; after an error the file is not used any more.
    func read() throws(Errno) -> Extent? {
      while entry == entryCount {
        do throws(Errno) {
          guard try nextPage() else { return nil }
        } catch {
          if FiledIndex.isOfFile(error) { index.isBroken.store(true, ordering: .relaxed) }
          throw error
        }
      }
      let (start, length, source) = unsafe content.extent(entry)
      entry += 1
      return Extent(start: start, length: length, source: ExtentSource(rawValue: source))
    }

    /// Pages of other heights have no entries for us.
    private func nextPage() throws(Errno) -> Bool {
      page += 1
      if page >= pagesInBuffer {
        if next == end { return false }
        try fill()
      }
      let number = next - UInt32(pagesInBuffer - page)
      let content = unsafe content
      guard unsafe index.isOurs(content, number: number, disk: disk) else { throw .io }
      entry = 0
      entryCount = unsafe content.height == 0 ? content.count : 0
      return true
    }

    private func fill() throws(Errno) {
      let count = min(buffer.count / pageByteCount, Int(end - next))
      let target = unsafe UnsafeMutableRawBufferPointer(
        start: buffer.base, count: count * pageByteCount)
      guard try unsafe file.read(into: target, at: index.position(ofPage: next)) == target.count
      else { throw .io }
      next += UInt32(count)
      pagesInBuffer = count
      page = 0
    }
  }
}
