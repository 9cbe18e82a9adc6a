import BlockModel
import Journal
import Storage
import SystemIO

/// An interval of a group's history whose changes are wanted: the records later than `start` and
/// not later than `end`.
///
/// Made by the group's loop from the closed generations, while `start` is in the history: then all
/// of these records are in the journal. A worker turns it into `ChangedBlocks`.
public struct ChangesPlan<File: JournalFile>: Sendable {
  public let start: Timestamp
  public let end: Timestamp
  /// Those with records in the interval, oldest first.
  private let generations: [Generation]
  /// Those that hold the records of generations which the interval cuts, oldest first.
  private let segments: [Segment<File>]
  private let diskCount: Int

  /// By the loop. Pins segments; every plan is `released` once.
  ///
  /// - Parameters:
  ///   - generations: closed and not applied, oldest first.
  ///   - segments: gives the segments that hold the records of a span.
  public init(
    after start: Timestamp, through end: Timestamp, generations: [Generation], diskCount: Int,
    segments: (RecordSpan) -> ArraySlice<Segment<File>>
  ) {
    self.start = start
    self.end = end
    self.diskCount = diskCount
    self.generations = generations.filter {
      $0.span.lastTimestamp > start && $0.span.firstTimestamp <= end
    }
    var wanted: [Segment<File>] = []
    for generation in self.generations where !Self.isWhole(generation.span, start, end) {
      // Two cut generations may share a segment.
      for segment in segments(generation.span) where wanted.last?.number != segment.number {
        wanted.append(segment)
      }
    }
    self.segments = wanted
    for segment in wanted { segment.pin() }
  }

  public func release() {
    for segment in segments { segment.unpin() }
  }

  private static func isWhole(_ span: RecordSpan, _ start: Timestamp, _ end: Timestamp) -> Bool {
    span.firstTimestamp > start && span.lastTimestamp <= end
  }

  /// One generation with all that the interval changed; nil when that is nothing. Scans the
  /// segments in which the interval begins and ends: headers only. Blocks.
  func merged() throws(VolumeError) -> Generation? {
    var parts: [Generation] = []
    for generation in generations {
      if Self.isWhole(generation.span, start, end) {
        parts.append(generation)
      } else {
        parts += try scan(generation.span)
      }
    }
    return parts.isEmpty ? nil : Generation.merging(parts)
  }

  private func scan(_ span: RecordSpan) throws(VolumeError) -> [Generation] {
    let before = SequenceNumber(span.firstSequence.rawValue - 1)
    let last = min(span.lastTimestamp, end)
    var parts: [Generation] = []
    for segment in segments {
      do throws(JournalError) {
        let part = try Generation.scanning(
          segment, after: before, laterThan: start, notLaterThan: last, diskCount: diskCount)
        if let part { parts.append(part) }
      } catch { throw .index(error) }
    }
    return parts
  }
}

/// Which bytes of a group's disks an interval of its history changed. Immutable; any thread.
public final class ChangedBlocks: Sendable {
  /// Of one disk, in ascending order, none touching the next: sequential and repeated writes are
  /// one run, whatever records they came from.
  private struct Runs: Sendable {
    private var starts: [UInt64] = []
    private var ends: [UInt64] = []

    init(_ map: SealedExtentMap) {
      for index in 0..<map.count {
        let extent = map[index]
        if ends.last == extent.start {
          ends[ends.count - 1] = extent.end
        } else {
          starts.append(extent.start)
          ends.append(extent.end)
        }
      }
    }

    func piece(at offset: UInt64, limit: UInt64) -> (length: UInt64, isChanged: Bool) {
      // The first run that ends behind the offset.
      var low = 0
      var high = ends.count
      while low < high {
        let middle = (low + high) / 2
        if ends[middle] > offset { high = middle } else { low = middle + 1 }
      }
      guard low < ends.count else { return (limit, false) }
      if starts[low] > offset { return (min(limit, starts[low] - offset), false) }
      return (min(limit, ends[low] - offset), true)
    }
  }

  /// Empty when nothing changed.
  private let disks: [Runs]

  /// Takes time and, while it works, memory in proportion to the number of extents in the interval.
  /// Blocks; for a worker.
  public init<File: JournalFile>(_ plan: ChangesPlan<File>) throws(VolumeError) {
    disks = try plan.merged()?.sealedMaps().map(Runs.init) ?? []
  }

  /// Whether the byte at `offset` was changed, and for how many bytes (at most `limit`) that holds.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, isChanged: Bool) {
    disk.index < disks.count ? disks[disk.index].piece(at: offset, limit: limit) : (limit, false)
  }
}
