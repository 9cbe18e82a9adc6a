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

  /// A failure means only that the segment is read at the next start; so does an index that is not
  /// worth a file, until the segment is applied.
  public func run() throws(Errno) { try storage.replace(name, with: encoded()) }

  private func encoded() -> [UInt8] {
    if generations.isEmpty { return SidecarIndex.encode(seal) }
    let merged = Generation.merging(generations)
    let whole = Generation(
      span: merged.span, checkpoints: generations.flatMap(\.checkpoints),
      maps: merged.sealedMaps())
    let sidecar = SidecarIndex(
      identity: segment.header.identity, end: segment.end, generation: whole)
    let bytes = sidecar.encoded()
    let limit = SidecarIndex.byteLimit(segmentByteCount: segment.header.segmentByteCount)
    return bytes.count <= SidecarIndex.headerByteCount + Int(limit)
      ? bytes : SidecarIndex.encode(seal)
  }
}
