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
  let memory: IndexMemory
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

  /// A failure means only that the segment is read at the next start; so does an index that is not
  /// worth a file, until the segment is applied.
  public func run() throws(JournalError) -> Result {
    let (bytes, layout) = try encoded()
    do throws(Errno) { try storage.replace(name, with: bytes) } catch {
      throw .storage(error, doing: "writing \(name)")
    }
    let index = layout.map {
      segment.filedIndex($0, name: name, storage, diskCount: $0.trees.count, memory)
    }
    return Result(segment: segment.number, span: seal.span, life: life, index: index)
  }

  private func encoded() throws(JournalError) -> (bytes: [UInt8], layout: IndexLayout?) {
    if generations.isEmpty { return (SidecarIndex.encode(seal), nil) }
    let size = Int(segment.header.segmentByteCount)
    let merged = try Generation.merging(generations)
    // Of the records themselves; the seal may name a later instant behind which the next ones are.
    let exact = SegmentSeal(identity: seal.identity, end: seal.end, span: merged.span)
    let (bytes, layout) = try SidecarIndex.encode(
      exact, generations.flatMap(\.checkpoints), try merged.sealedMaps(),
      pageByteCount: IndexPage.byteCount(segmentByteCount: size))
    let limit = SidecarIndex.byteLimit(segmentByteCount: segment.header.segmentByteCount)
    return bytes.count <= SidecarIndex.headerByteCount + Int(limit)
      ? (bytes, layout) : (SidecarIndex.encode(seal), nil)
  }
}

/// A sidecar, which may be another segment's when it is opened.
struct SidecarSource<Storage: JournalStorage>: IndexFileSource {
  let storage: Storage
  let name: String

  func open() throws(Errno) -> any JournalFile { try storage.open(name) }
}

extension Segment {
  /// The index of all its records in its sidecar; the segment itself is read in its place.
  func filedIndex<Storage: JournalStorage>(
    _ layout: IndexLayout, name: String, _ storage: Storage, diskCount: Int,
    bounds: FiledIndex.Bounds? = nil, _ memory: IndexMemory
  ) -> FiledIndex where Storage.File == File {
    FiledIndex(
      layout, in: SidecarSource(storage: storage, name: name),
      else: .scan { [self] () throws(JournalError) in
        guard
          let generation = try Generation.scanning(
            self, after: .none, notLaterThan: .distantFuture, diskCount: diskCount)
        else { throw .damaged("segment \(number) has no records") }
        return generation
      }, bounds: bounds, cache: memory.cache)
  }
}
