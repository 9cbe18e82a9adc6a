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

    init(_ merge: consuming ExtentMerge) throws(JournalError) {
      while let extent = try merge.next() {
        if ends.last == extent.start {
          ends[ends.count - 1] = extent.end
        } else {
          starts.append(extent.start)
          ends.append(extent.end)
        }
      }
    }

    init() {}

    /// What is in one of two, or in both.
    init(_ one: Runs, _ other: Runs) {
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

  private enum Content: Sendable {
    /// By disk; empty when nothing changed.
    case runs([Runs])
    /// Not merged: they are walked through at each question.
    case parts([Generation])
  }

  private let content: Content

  private init(_ content: Content) { self.content = content }

  /// Takes time in proportion to the number of extents in the interval. Blocks; for a worker.
  public init<File: JournalFile>(_ plan: ChangesPlan<File>) throws(VolumeError) {
    let parts = try plan.parts()
    var disks: [Runs] = []
    for disk in 0..<(parts.first?.diskCount ?? 0) {
      disks.append(try Self.runs(parts, DiskNumber(UInt16(disk))))
    }
    content = .runs(disks)
  }

  /// A few parts at a time: it does not matter where the bytes are, so what is found is united, and
  /// neither time nor open files grow with the square of the number of parts.
  private static func runs(
    _ parts: [Generation], _ disk: DiskNumber
  ) throws(VolumeError) -> Runs {
    var found: [Runs] = []
    var rest = parts[...]
    while !rest.isEmpty {
      do throws(JournalError) {
        found.append(try Runs(ExtentMerge(Array(rest.prefix(partsAtATime)), disk: disk)))
      } catch { throw .index(error) }
      rest = rest.dropFirst(partsAtATime)
    }
    while found.count > 1 {
      var united: [Runs] = []
      for index in stride(from: 0, to: found.count, by: 2) {
        united.append(
          index + 1 < found.count ? Runs(found[index], found[index + 1]) : found[index])
      }
      found = united
    }
    return found.first ?? Runs()
  }

  private static var partsAtATime: Int { 8 }

  /// Whether the byte at `offset` was changed, and for how many bytes (at most `limit`) that holds.
  /// Does not block: nil when a `walk` must tell.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, isChanged: Bool?) {
    guard case .runs(let disks) = content else { return (limit, nil) }
    guard disk.index < disks.count else { return (limit, false) }
    let (length, isChanged) = disks[disk.index].piece(at: offset, limit: limit)
    return (length, isChanged)
  }

  /// Answers as `piece` for offsets in ascending order, from `offset` on. Blocks.
  public func walk(disk: DiskNumber, from offset: UInt64) throws(VolumeError) -> Walk {
    guard case .parts(let parts) = content else { return Walk(self, disk) }
    return try Walk(parts, disk, from: offset)
  }

  /// For one thread.
  public struct Walk {
    private let known: (blocks: ChangedBlocks, disk: DiskNumber)?
    private var merge: ExtentMerge?
    /// The extent under way, and those that touch it as far as they were looked at.
    private var start: UInt64 = 0
    private var end: UInt64 = 0
    private var following: Extent?

    fileprivate init(_ blocks: ChangedBlocks, _ disk: DiskNumber) { known = (blocks, disk) }

    fileprivate init(
      _ parts: [Generation], _ disk: DiskNumber, from offset: UInt64
    ) throws(VolumeError) {
      known = nil
      do throws(JournalError) {
        var merge = try ExtentMerge(parts, disk: disk, from: offset)
        following = try merge.next()
        self.merge = merge
      } catch { throw .index(error) }
    }

    public mutating func piece(
      at offset: UInt64, limit: UInt64
    ) throws(VolumeError) -> (length: UInt64, isChanged: Bool) {
      if let (blocks, disk) = known {
        let found = blocks.piece(disk: disk, at: offset, limit: limit)
        return (found.length, found.isChanged ?? true)
      }
      do throws(JournalError) { try advance(to: offset, limit: limit) } catch {
        throw .index(error)
      }
      if offset < start { return (min(limit, start - offset), false) }
      if offset < end { return (min(limit, end - offset), true) }
      return (limit, false)
    }

    /// Makes the run under way the one that has the byte at `offset`, or is the next.
    private mutating func advance(to offset: UInt64, limit: UInt64) throws(JournalError) {
      while let next = following {
        let isDone = end <= offset
        if isDone {
          start = next.start
          end = next.end
        } else if next.start == end, end - offset < limit {
          end = next.end
        } else {
          return
        }
        following = try merge?.next()
      }
    }
  }
}

extension ChangedBlocks {
  /// Those of whole generations, oldest first. Their segments must stay until it is not used any
  /// more.
  public convenience init(of parts: [Generation]) { self.init(.parts(parts)) }
}
