import BlockModel
import Journal
import SystemIO

/// Whether the sidecars of a journal's segments say what the segments hold. The segments have been
/// read and verified themselves: a sidecar is judged by them, never the other way round.
extension JournalFolder {
  func judgeSidecars(_ report: inout JournalReport) throws(JournalToolsError) {
    guard let state else { return }
    let disks = state.diskBounds
    for segment in keptSegments {
      let name = SidecarIndex.name(ofSegmentFile: segment.name)
      guard let header = segment.header,
        let file = try? File(opening: "\(path)/\(name)", .readOnly)
      else { continue }
      let reading = try reading(name) { () throws(Errno) in
        try SidecarIndex.read(file, of: header, disks: disks)
      }
      switch reading {
      case .other: break
      case .damaged:
        // A running site may be writing it.
        if !isInUse {
          report.notes.append("\(name) does not verify: \(segment.name) is read in its place")
        }
      case .whole, .sealed:
        let count = reading.recordCount ?? 0
        // Of one that is older than a disk, the index has no place for it.
        var diskCount = disks.count
        if case .whole(let sidecar) = reading { diskCount = sidecar.generation.diskCount }
        let segment = try whole(segment, count)
        let scanned = try self.reading(name) { () throws(Errno) in
          try SidecarIndex.scanning(
            segment.file, header: header, end: segment.end, recordCount: count,
            diskCount: diskCount)
        }
        if !Self.agree(scanned, reading), !isRecycled(segment, since: header) {
          report.damages.append(
            JournalDamage(
              file: name, what: Self.disagreement(count, segment),
              // Its number of records is evidence of what the segment lost.
              remedy: count > segment.recordCount ? .salvage : .removeSidecar))
        }
      }
    }
  }

  private func reading<Result>(
    _ name: String, _ body: () throws(Errno) -> Result
  ) throws(JournalToolsError) -> Result {
    do throws(Errno) { return try body() } catch {
      throw .file("\(path)/\(name)", error, doing: "reading")
    }
  }

  /// The segment as it is now, if a running site has added to it since it was read: what the
  /// sidecar tells of had been written before the sidecar.
  private func whole(
    _ segment: SegmentFile, _ recordCount: UInt64
  ) throws(JournalToolsError) -> SegmentFile {
    guard isInUse, recordCount > segment.recordCount else { return segment }
    return try SegmentFile(segment.name, in: path, state: state, newest: .max)
  }

  private static func agree(_ scanned: SidecarIndex?, _ reading: SidecarIndex.Reading) -> Bool {
    switch reading {
    case .whole(let sidecar): (try? scanned?.encoded() == sidecar.encoded()) ?? false
    case .sealed(let seal): scanned?.end == seal.end
    case .other, .damaged: true
    }
  }

  private static func disagreement(_ recordCount: UInt64, _ segment: SegmentFile) -> String {
    recordCount > segment.recordCount
      ? "it indexes \(recordCount) records, but \(segment.name) has"
        + " \(segment.recordCount) that verify"
      : "it disagrees with the records of \(segment.name)"
  }

  /// A running site has begun another segment in the file since it was read.
  private func isRecycled(_ segment: SegmentFile, since header: SegmentHeader) -> Bool {
    isInUse && SegmentFile.number(of: segment.name, in: path) != header.number
  }
}
