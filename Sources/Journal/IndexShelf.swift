import BlockModel
import Synchronization
import SystemIO

/// Where the maps of a group's index are put: into memory while there is room, else into files
/// without a name. Any thread.
///
/// All maps go this way that could become many: of closed generations, of what was merged, and of
/// segments that were read again. So memory stays bounded whatever guests write.
public struct IndexShelf: Sendable {
  let memory: IndexMemory
  public let use: IndexUse
  let pageByteCount: Int
  private let makeScratch: @Sendable () throws(Errno) -> any JournalFile

  /// - Parameter storage: where files are made.
  public init<Storage: JournalStorage>(
    _ storage: Storage, segmentByteCount: Int = 1 << 20, _ memory: IndexMemory = IndexMemory()
  ) {
    self.memory = memory
    use = IndexUse(of: memory)
    pageByteCount = IndexPage.byteCount(segmentByteCount: segmentByteCount)
    makeScratch = { () throws(Errno) in try storage.scratch() }
  }

  /// Nil when there is no room. What is smaller than a page is not worth a file, and has its share
  /// in any case.
  func share(byteCount: Int) -> IndexMemory.Share? {
    byteCount < pageByteCount
      ? memory.share(byteCount: byteCount, for: use)
      : memory.shareIfFree(byteCount: byteCount, for: use)
  }

  /// A generation that was put somewhere.
  struct Placed: Sendable {
    let generation: Generation
    /// Why it is in memory although there is no room.
    let failure: JournalError?
  }

  /// Puts a generation somewhere that is as the loop, or a scan, has left it, or is in memory and
  /// should not be. Blocks.
  ///
  /// - Parameter share: of the memory, if it was set aside.
  func place(_ generation: Generation, _ share: IndexMemory.Share? = nil) -> Placed {
    let byteCount = generation.mapByteCount
    if let share = share ?? self.share(byteCount: byteCount) {
      return Placed(generation: generation.flattened(share), failure: nil)
    }
    do throws(JournalError) {
      if let fallback = generation.fallback,
        let index = try file([generation], else: fallback, until: nil)
      {
        return Placed(generation: generation.filed(index), failure: nil)
      }
      return Placed(generation: keep(generation), failure: nil)
    } catch {
      return Placed(generation: keep(generation), failure: error)
    }
  }

  /// In memory, whether there is room or not.
  func keep(_ generation: Generation) -> Generation {
    generation.flattened(memory.share(byteCount: generation.mapByteCount, for: use))
  }

  /// What the inputs come to, in a file. Blocks, for a time in proportion to the number of extents.
  /// Nil: it was stopped.
  func file(
    _ oldestFirst: [Generation], else fallback: FiledIndex.Fallback, until stop: IndexJob.Stop?
  ) throws(JournalError) -> FiledIndex? {
    let file: any JournalFile
    do throws(Errno) { file = try makeScratch() } catch {
      throw .storage(error, doing: "creating an index file")
    }
    let scratch = ScratchIndex(file)
    var writer = IndexFileWriter(
      file, pageByteCount: pageByteCount, offset: 0,
      seed: UInt32(truncatingIfNeeded: memory.cache.newFile()))
    guard try writer.write(oldestFirst, until: stop) else { return nil }
    return FiledIndex(
      try writer.finish(), in: scratch, else: fallback, cache: memory.cache, use: use)
  }
}

/// Writes the pages of an index file.
struct IndexFileWriter {
  private let file: any JournalFile
  private var tree: IndexTreeWriter
  private var position: UInt64

  /// What is written at once.
  private static var batchByteCount: Int { 64 << 10 }

  init(_ file: any JournalFile, pageByteCount: Int, offset: UInt64, seed: UInt32) {
    self.file = file
    position = offset
    tree = IndexTreeWriter(pageByteCount: pageByteCount, offset: offset, seed: seed)
  }

  /// All that generations which follow each other come to. Blocks. False: it was stopped.
  mutating func write(
    _ oldestFirst: [Generation], until stop: IndexJob.Stop?
  ) throws(JournalError) -> Bool {
    #if MUTANTS
      let oldestFirst = Mutant.mergeOutOfOrder.isOn ? oldestFirst.reversed() : oldestFirst
    #endif
    for disk in 0..<oldestFirst.diskCount {
      var merge = try ExtentMerge(oldestFirst, disk: DiskNumber(UInt16(disk)))
      while let extent = try merge.next() {
        tree.append(extent)
        if tree.done.count >= Self.batchByteCount {
          if stop?.isSet == true { return false }
          try writeDone()
        }
      }
      tree.endDisk()
    }
    return true
  }

  /// Blocks.
  mutating func finish() throws(JournalError) -> IndexLayout {
    try writeDone()
    return tree.layout
  }

  private mutating func writeDone() throws(JournalError) {
    let bytes = tree.takeDone()
    try Self.write(bytes, to: file, at: position)
    position += UInt64(bytes.count)
  }

  static func write(
    _ bytes: [UInt8], to file: any JournalFile, at offset: UInt64
  ) throws(JournalError) {
    let result = unsafe bytes.withUnsafeBytes { buffer -> Result<Void, Errno> in
      do throws(Errno) { return .success(try unsafe file.write(buffer, at: offset)) } catch {
        return .failure(error)
      }
    }
    do throws(Errno) { try result.get() } catch {
      throw .storage(error, doing: "writing an index file")
    }
  }
}

/// A file without a name. The system gives up its blocks when its last user lets go of it, which
/// takes long for a large one, and the last user may be a loop: so another thread does it.
final class ScratchIndex: IndexFileSource {
  private final class Holder: Sendable {
    private let file: Mutex<(any JournalFile)?>
    init(_ file: any JournalFile) { self.file = Mutex(file) }
    func open() -> (any JournalFile)? { file.withLock { $0 } }
    func close() { file.withLock { $0 = nil } }
  }

  private let holder: Holder

  init(_ file: any JournalFile) { holder = Holder(file) }

  deinit {
    let holder = holder
    LateClosing.submit { holder.close() }
  }

  func open() throws(Errno) -> any JournalFile {
    guard let file = holder.open() else { throw .io }
    return file
  }
}
