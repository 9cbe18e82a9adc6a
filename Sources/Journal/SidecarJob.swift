import BlockModel
import SystemIO

/// Writes the sidecar of one segment, which is sealed and durable. For a thread that may block.
public struct SidecarJob<Storage: JournalStorage>: Sendable {
  let storage: Storage
  let name: String
  let segment: Segment<Storage.File>
  let seal: SegmentSeal
  /// All of the segment's records, oldest first; empty when some are applied, and a start needs no
  /// index of them.
  let generations: [Generation]
  let shelf: IndexShelf
  /// What stands for the generations.
  let maps: [Generation]
  /// Of the index: see `IndexLevels`.
  let life: UInt64

  /// What was written.
  public struct Result: Sendable {
    let segment: UInt32
    let span: RecordSpan
    let life: UInt64
    /// Nil: a seal.
    let index: FiledIndex?
  }

  /// A failure means only that the segment is read at the next start. Needs memory for some pages.
  public func run() throws(JournalError) -> Result {
    do throws(JournalError) {
      let layout = try write(to: try create())
      let index = layout.map { segment.filedIndex($0, name: name, storage, shelf) }
      return Result(segment: segment.number, span: seal.span, life: life, index: index)
    } catch {
      // Half a file would hold the space that its failure is about.
      try? storage.remove(name)
      throw error
    }
  }

  private func create() throws(JournalError) -> Storage.File {
    do throws(Errno) { return try storage.rewrite(name) } catch {
      throw .storage(error, doing: "writing \(name)")
    }
  }

  /// The head last: it says where the pages are.
  private func write(to file: Storage.File) throws(JournalError) -> IndexLayout? {
    if generations.isEmpty {
      try IndexFileWriter.write(SidecarIndex.encode(seal), to: file, at: 0)
      return nil
    }
    // Of the records themselves; the seal may name a later instant behind which the next ones are.
    let exact = SegmentSeal(
      identity: seal.identity, end: seal.end, span: RecordSpan(joining: generations))
    let head = SidecarHead(
      exact, generations.flatMap(\.checkpoints), diskCount: maps.diskCount,
      pageByteCount: IndexPage.byteCount(
        segmentByteCount: Int(segment.header.segmentByteCount)))
    var writer = IndexFileWriter(
      file, pageByteCount: head.pageByteCount, offset: head.pagesOffset, seed: head.seed)
    _ = try writer.write(maps, until: nil)
    let layout = try writer.finish()
    try IndexFileWriter.write(head.encoded(layout.trees), to: file, at: 0)
    return layout
  }
}

/// A sidecar, which may be another segment's when it is opened.
struct SidecarSource<Storage: JournalStorage>: IndexFileSource {
  let storage: Storage
  let name: String

  func open() throws(Errno) -> any JournalFile { try storage.openToRead(name) }
}

extension Segment {
  /// The index of all its records in its sidecar; the segment itself is read in its place.
  func filedIndex<Storage: JournalStorage>(
    _ layout: IndexLayout, name: String, _ storage: Storage, _ shelf: IndexShelf,
    bounds: FiledIndex.Bounds? = nil
  ) -> FiledIndex where Storage.File == File {
    let origin = origin(diskCount: layout.trees.count, shelf)
    let whole = RecordSpan(
      firstSequence: header.firstSequence, lastSequence: SequenceNumber(.max),
      firstTimestamp: .zero, lastTimestamp: .distantFuture)
    return FiledIndex(
      layout, in: SidecarSource(storage: storage, name: name),
      else: .scan { () throws(JournalError) in try origin.scan(whole) },
      bounds: bounds, cache: shelf.memory.cache, use: shelf.use)
  }
}
