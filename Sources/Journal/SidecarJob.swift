import BlockModel
import SystemIO

/// Writes the sidecar of one segment, which is sealed and durable. For a thread that may block.
public struct SidecarJob<Storage: JournalStorage>: Sendable {
  let storage: Storage
  let name: String
  let segment: Segment<Storage.File>
  /// All of the segment's records, oldest first.
  let generations: [Generation]

  /// A failure means only that the segment is read at the next start; so does an index that is not
  /// worth a file.
  public func run() throws(Errno) {
    let merged = Generation.merging(generations)
    let whole = Generation(
      span: merged.span, checkpoints: generations.flatMap(\.checkpoints),
      maps: merged.sealedMaps())
    let sidecar = SidecarIndex(
      identity: segment.header.identity, end: segment.end, generation: whole)
    let bytes = sidecar.encoded()
    let limit = SidecarIndex.byteLimit(segmentByteCount: segment.header.segmentByteCount)
    guard bytes.count <= SidecarIndex.headerByteCount + Int(limit) else { return }
    try storage.replace(name, with: bytes)
  }
}
