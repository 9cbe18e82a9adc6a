import BlockModel
import Glibc
import JournalTestSupport
import Synchronization
import SystemIO
import Testing

@testable import Journal

/// Proves what the reader of an index file makes of errors and of made-up pages: the answers stay
/// right, and only a file that is bad itself is given up.
@Suite struct FiledIndexTests {
  static let disk = DiskNumber(0)
  static let seed: UInt32 = 77

  /// A file that can be refused.
  final class Source: IndexFileSource {
    let file: FaultyFile
    private let failure = Mutex<Errno?>(nil)
    private let opened = Atomic<Int>(0)

    init(_ file: FaultyFile) { self.file = file }

    var openCount: Int { opened.load(ordering: .relaxed) }

    func refuse(_ error: Errno) { failure.withLock { $0 = error } }

    func open() throws(Errno) -> any JournalFile {
      if let error = failure.withLock({ $0.take() }) { throw error }
      opened.add(1, ordering: .relaxed)
      return file
    }
  }

  static func extent(_ number: Int) -> Extent {
    Extent(
      start: UInt64(number) * 16, length: 8,
      source: ExtentSource(segment: 5, position: 5000 + UInt32(number)))
  }

  /// What a scan of the segment gives.
  static func generation(_ extents: [[Extent]]) -> Generation {
    let one = SequenceNumber(1)
    return Generation(
      span: RecordSpan(
        firstSequence: one, lastSequence: one, firstTimestamp: .zero, lastTimestamp: .zero),
      checkpoints: [],
      maps: extents.map { extents in
        do { return try SealedExtentMap(checking: extents.count) { extents[$0] } } catch {
          fatalError("\(error)")
        }
      })
  }

  /// Ten pages of extents and one above them.
  static func index(
    _ storage: FaultyStorage
  ) throws -> (index: FiledIndex, source: Source, extents: [Extent]) {
    let extents = (0..<100).map(extent)
    var writer = IndexTreeWriter(pageByteCount: 256, offset: 0, seed: seed)
    for extent in extents { writer.append(extent) }
    writer.endDisk()
    let source = Source(try storage.scratch())
    try write(writer.takeDone(), to: source.file)
    let index = FiledIndex(
      writer.layout, in: source, else: .scan { () throws(JournalError) in [generation([extents])] },
      cache: IndexPageCache(byteLimit: 0))
    return (index, source, extents)
  }

  static func write(_ bytes: [UInt8], to file: FaultyFile) throws {
    let result = unsafe bytes.withUnsafeBytes { buffer -> Result<Void, Errno> in
      do throws(Errno) { return .success(try unsafe file.write(buffer, at: 0)) } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  static func source(_ index: FiledIndex, of extent: Extent) throws -> ExtentSource? {
    try index.pieceWaiting(disk: disk, at: extent.start, limit: 8, floor: 0).source
  }

  /// No descriptors, no memory, no permission: what can be had otherwise must not fail a guest's
  /// read, and the next moment is another one.
  @Test(arguments: [EMFILE, ENFILE, ENOMEM, EACCES, EROFS])
  func `an error of the moment fails nothing and ends nothing`(number: Int32) throws {
    let (index, source, extents) = try Self.index(FaultyStorage(seed: 1))
    source.refuse(Errno(number))
    #expect(try Self.source(index, of: extents[0]) == extents[0].source)
    #expect(source.openCount == 0)
    #expect(try Self.source(index, of: extents[55]) == extents[55].source)
    #expect(source.openCount == 1, "the file is used again")
    source.refuse(Errno(number))
    let cursors = try index.cursors(disk: Self.disk, from: 0)
    #expect(cursors.count == 1)
    #expect(try Self.source(index, of: extents[99]) == extents[99].source)
    #expect(source.openCount == 2)
  }

  @Test(arguments: [EIO, ENOENT])
  func `a file that cannot be read is not used again`(number: Int32) throws {
    let (index, source, extents) = try Self.index(FaultyStorage(seed: 1))
    source.refuse(Errno(number))
    for extent in extents { #expect(try Self.source(index, of: extent) == extent.source) }
    #expect(source.openCount == 0)
  }

  /// Everything verifies, but for its place in the tree.
  private static func page(height: UInt8) -> [UInt8] {
    var page = [UInt8](repeating: 0, count: 256)
    page[1] = 1
    page[2] = height
    // The first extent or page below begins at 0, and an extent is of 8 bytes in segment 3; a page
    // is number 0, which is this one.
    if height == 0 {
      page[8 + 15] = 8
      page[8 + 19] = 3
    }
    let sum = unsafe page.withUnsafeBytes {
      unsafe IndexPageContent.sum($0.baseAddress!, 252, number: 0, seed: seed)
    }
    for byte in 0..<4 { page[252 + byte] = UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * byte)) }
    return page
  }

  @Test func `a page that names itself as the page below is not taken for that`() throws {
    let source = Source(try FaultyStorage(seed: 1).scratch())
    try Self.write(Self.page(height: 1), to: source.file)
    var layout = IndexLayout(pageByteCount: 256, offset: 0, seed: Self.seed)
    layout.trees = [IndexTree(extentCount: 1, firstPage: 0, root: 0, height: 1)]
    let cache = IndexPageCache(byteLimit: 1 << 20)
    let extent = Self.extent(0)
    let index = FiledIndex(
      layout, in: source, else: .scan { () throws(JournalError) in [Self.generation([[extent]])] },
      cache: cache)
    // As somebody who waits has left it there a moment ago.
    let page = IndexPage(byteCount: 256)
    unsafe page.buffer.copyBytes(from: Self.page(height: 1))
    cache.insert(page, IndexPageCache.Key(file: 1, page: 0))
    let told = index.piece(disk: Self.disk, at: 0, limit: 8, floor: 0)
    #expect(told.source == .unresolved)
    #expect(try Self.source(index, of: extent) == extent.source)
  }

  @Test func `a page of another disk is not taken for this one's`() throws {
    let source = Source(try FaultyStorage(seed: 1).scratch())
    try Self.write(Self.page(height: 0), to: source.file)
    var layout = IndexLayout(pageByteCount: 256, offset: 0, seed: Self.seed)
    let tree = IndexTree(extentCount: 1, firstPage: 0, root: 0, height: 0)
    layout.trees = [tree, tree]
    let extent = Self.extent(0)
    let index = FiledIndex(
      layout, in: source,
      else: .scan { () throws(JournalError) in [Self.generation([[], [extent]])] },
      cache: IndexPageCache(byteLimit: 1 << 20))
    #expect(try Self.source(index, of: extent) == ExtentSource(segment: 3, position: 0))
    let other = DiskNumber(1)
    #expect(index.piece(disk: other, at: 0, limit: 8, floor: 0).source == .unresolved)
    let piece = try index.pieceWaiting(disk: other, at: 0, limit: 8, floor: 0)
    #expect(piece.source == extent.source)
  }
}
