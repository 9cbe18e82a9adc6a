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
  /// Segments are recycled in order, so its pin keeps all that the generations' files stand for.
  private let oldest: Segment<File>?
  private let diskCount: Int
  /// Where what scans find is put.
  private let shelf: IndexShelf

  /// By the loop. Pins segments; every plan is `released` once.
  ///
  /// - Parameters:
  ///   - generations: closed and not applied, oldest first.
  ///   - segments: gives the segments that hold the records of a span.
  public init(
    after start: Timestamp, through end: Timestamp, generations: [Generation], diskCount: Int,
    shelf: IndexShelf, segments: (RecordSpan) -> ArraySlice<Segment<File>>
  ) {
    self.start = start
    self.end = end
    self.diskCount = diskCount
    self.shelf = shelf
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
    oldest = self.generations.first.flatMap { segments($0.span).first }
    for segment in wanted { segment.pin() }
    oldest?.pin()
  }

  public func release() {
    for segment in segments { segment.unpin() }
    oldest?.unpin()
  }

  private static func isWhole(_ span: RecordSpan, _ start: Timestamp, _ end: Timestamp) -> Bool {
    span.firstTimestamp > start && span.lastTimestamp <= end
  }

  /// Generations with all that the interval changed, oldest first. Scans the segments in which the
  /// interval begins and ends. Blocks.
  func parts() throws(VolumeError) -> [Generation] {
    var parts: [Generation] = []
    for generation in generations {
      if Self.isWhole(generation.span, start, end) {
        parts.append(generation)
      } else {
        parts += try scan(generation.span)
      }
    }
    return parts
  }

  private func scan(_ span: RecordSpan) throws(VolumeError) -> [Generation] {
    let before = SequenceNumber(span.firstSequence.rawValue - 1)
    let last = min(span.lastTimestamp, end)
    var parts: [Generation] = []
    for segment in segments {
      do throws(JournalError) {
        parts += try Generation.scanning(
          segment, after: before, laterThan: start, notLaterThan: last, diskCount: diskCount,
          shelf)
      } catch { throw .index(error) }
    }
    return parts
  }
}

/// Which bytes of a group's disks an interval of its history changed. Immutable; any thread.
public final class ChangedBlocks: Sendable {
  /// By disk; empty when nothing changed.
  private let disks: [ChangedRuns]

  /// Takes time in proportion to the number of extents in the interval. Blocks; for a worker.
  public init<File: JournalFile>(_ plan: ChangesPlan<File>) throws(VolumeError) {
    let parts = try plan.parts()
    var disks: [ChangedRuns] = []
    for disk in 0..<parts.diskCount {
      var end = UInt64.max
      disks.append(try ChangedRuns(of: parts, disk: DiskNumber(UInt16(disk)), until: &end))
    }
    self.disks = disks
  }

  /// What either has.
  public init(uniting one: ChangedBlocks, _ other: ChangedBlocks) {
    disks = (0..<max(one.disks.count, other.disks.count)).map { disk in
      ChangedRuns(
        uniting: [one, other].compactMap { disk < $0.disks.count ? $0.disks[disk] : nil })
    }
  }

  /// Whether the byte at `offset` was changed, and for how many bytes (at most `limit`) that holds.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, isChanged: Bool) {
    guard disk.index < disks.count else { return (limit, false) }
    return disks[disk.index].piece(at: offset, limit: limit)
  }
}

/// Runs of bytes of one disk that were changed, in ascending order, none touching the next:
/// sequential and repeated writes are one run, whatever records they came from.
///
/// So that they never take more than 16 MiB, of more than a million those are one that only small
/// gaps keep apart: a client may be told that something changed that did not.
public struct ChangedRuns: Sendable {
  public static let countLimit = 1 << 20

  private var starts: [UInt64] = []
  private var ends: [UInt64] = []

  /// Of whole generations, from the byte at `start` on. A few at a time: it does not matter where
  /// the bytes are, so what is found is united, and neither time nor open files grow with the
  /// square of their number. Blocks.
  ///
  /// - Parameters:
  ///   - end: set to where more than `limit` runs would begin, if that comes before.
  public init(
    of maps: [Generation], disk: DiskNumber, from start: UInt64 = 0, until end: inout UInt64,
    limit: Int = .max
  ) throws(VolumeError) {
    var found: [ChangedRuns] = []
    var rest = maps[...]
    while !rest.isEmpty {
      do throws(JournalError) {
        let merge = try ExtentMerge(Array(rest.prefix(Self.mapsAtATime)), disk: disk, from: start)
        found.append(try ChangedRuns(merge, until: &end, limit: limit))
      } catch { throw .index(error) }
      // Each is united with one of its size, so few are there at a time.
      while let last = found.last?.starts.count, found.count > 1,
        found[found.count - 2].starts.count <= 2 * last
      {
        Self.uniteLast(&found)
      }
      rest = rest.dropFirst(Self.mapsAtATime)
    }
    while found.count > 1 { Self.uniteLast(&found) }
    if let all = found.first { self = all }
    coarsen(to: Self.countLimit)
  }

  fileprivate init(uniting all: [ChangedRuns]) {
    for runs in all { self = ChangedRuns(self, runs) }
    coarsen(to: Self.countLimit)
  }

  private static func uniteLast(_ found: inout [ChangedRuns]) {
    let last = found.removeLast()
    found[found.count - 1] = ChangedRuns(found[found.count - 1], last)
    found[found.count - 1].coarsen(to: countLimit)
  }

  /// Unites runs whose gaps are small, until there are at most so many.
  mutating func coarsen(to limit: Int) {
    var gap: UInt64 = 4096
    while starts.count > limit {
      var count = 0
      for index in starts.indices {
        if count > 0, starts[index] - ends[count - 1] < gap {
          ends[count - 1] = ends[index]
        } else {
          (starts[count], ends[count]) = (starts[index], ends[index])
          count += 1
        }
      }
      starts.removeLast(starts.count - count)
      ends.removeLast(ends.count - count)
      gap *= 2
    }
  }

  private static var mapsAtATime: Int { 8 }

  private init(
    _ merge: consuming ExtentMerge, until end: inout UInt64, limit: Int
  ) throws(JournalError) {
    while let extent = try merge.next(), extent.start < end {
      if ends.last == extent.start {
        ends[ends.count - 1] = extent.end
      } else if ends.count == limit {
        end = extent.start
      } else {
        starts.append(extent.start)
        ends.append(extent.end)
        if starts.count > 2 * Self.countLimit { coarsen(to: Self.countLimit) }
      }
    }
  }

  /// What is in one of two, or in both.
  private init(_ one: ChangedRuns, _ other: ChangedRuns) {
    var (left, right) = (0, 0)
    while left < one.starts.count || right < other.starts.count {
      let takesLeft =
        right == other.starts.count
        || left < one.starts.count && one.starts[left] <= other.starts[right]
      if takesLeft {
        add(one.starts[left], one.ends[left])
        left += 1
      } else {
        add(other.starts[right], other.ends[right])
        right += 1
      }
    }
  }

  /// Of runs in the order of their starts.
  private mutating func add(_ start: UInt64, _ end: UInt64) {
    if let last = ends.last, start <= last {
      ends[ends.count - 1] = max(last, end)
    } else {
      starts.append(start)
      ends.append(end)
    }
  }

  /// Whether the byte at `offset` was changed, and for how many bytes (at most `limit`) that holds.
  public func piece(at offset: UInt64, limit: UInt64) -> (length: UInt64, isChanged: Bool) {
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
