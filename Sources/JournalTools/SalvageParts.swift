import BlockModel
import Journal

/// Which segment files a salvage reads, and what is known of them without a state file.
extension JournalFolder {
  /// In order. With a state file: what recovery would keep, what only damage keeps from it, and
  /// segments without a header that belong there. Without one: the segments that follow each other
  /// up to the newest; a number that is missing between them is taken for a recycled segment.
  func salvageParts() throws(JournalToolsError) -> [SalvageWalk.Part] {
    var parts: [SalvageWalk.Part] = []
    for segment in segments {
      guard let header = segment.header else { continue }
      if state == nil || segment.isKept || isLeftOut(segment) {
        parts.append(.init(file: segment, identity: header.identity, header: header))
      }
    }
    if state == nil, Set(parts.map(\.identity.group)).count > 1 {
      throw .refused(
        "the state file cannot be read, and the segments are of several groups (`tapline journal"
          + " ls` lists them): move those of other groups out of a copy of the folder")
    }
    for segment in segments where segment.reading == .unreadable {
      guard let identity = try identityByFirstRecord(of: segment) else { continue }
      // One of before the oldest that is needed was recycled.
      if let oldest = parts.first?.identity.number, identity.number < oldest,
        parts.first?.header.map({ $0.firstSequence <= appliedKnown.advanced(by: 1) }) ?? false
      {
        continue
      }
      parts.append(.init(file: segment, identity: identity, header: nil))
    }
    parts.sort { ($0.identity.number, $0.identity.epoch) < ($1.identity.number, $1.identity.epoch) }
    return state == nil ? Self.newestRun(parts) : parts
  }

  private var appliedKnown: SequenceNumber { state?.applied.sequence ?? .none }

  private static func newestRun(_ parts: [SalvageWalk.Part]) -> [SalvageWalk.Part] {
    var start = parts.endIndex
    while start > parts.startIndex {
      guard
        start == parts.endIndex
          || parts[start - 1].identity.number + 1 >= parts[start].identity.number
      else { break }
      start -= 1
    }
    return Array(parts[start...])
  }

  /// The first record number that an epoch later than this one took over; beyond all when none.
  func voidBegins(afterEpoch epoch: UInt64) -> SequenceNumber {
    let known = state?.lineage.incarnations ?? segments.compactMap { $0.header?.incarnation }
    return known.filter { $0.epoch > epoch }.map { $0.after.sequence.advanced(by: 1) }.min()
      ?? SequenceNumber(.max)
  }

  /// The number and incarnation whose first record lies in a segment without a readable header.
  func identityByFirstRecord(
    of segment: SegmentFile
  ) throws(JournalToolsError) -> SegmentIdentity? {
    let headers = segments.compactMap(\.header)
    guard let group = state?.group ?? headers.first?.identity.group else { return nil }
    let image = try SegmentImage(segment, folder: path)
    let taken = Set(headers.map(\.number))
    let last = taken.max() ?? 0
    let first = max(1, min(taken.min() ?? 1, last) - 1)
    let incarnations = Set(headers.map(\.incarnation) + (state?.lineage.incarnations ?? []))
    for number in first...UInt32(clamping: UInt64(last) + Self.missingNumberLimit)
    where !taken.contains(number) {
      for incarnation in incarnations {
        let identity = SegmentIdentity(group: group, incarnation: incarnation, number: number)
        let found = image.record(
          at: SegmentHeader.byteCount, index: 0, seed: identity.checksumSeed, after: .zero)
        if found != nil { return identity }
      }
    }
    return nil
  }

  /// Segments behind the last readable header that an unreadable one may have been.
  private static var missingNumberLimit: UInt64 { 4 }
}
