import Analyzer
import BlockModel
import Journal

/// The tapping stage: stamps each write of a group and fans it into three copies.
///
/// 1. The journal manager: the record is staged, and `commit` writes the batch.
/// 2. The link to the peer: it follows the journal's bytes, so its copy is the journal's own page
///    in memory; `commit` tells it that there is more.
/// 3. The analyzer: an observation of 32 bytes goes into a bounded queue, from which the analyzer
///    reads the payload by its place in the journal. A full queue skips and counts.
///
/// Only the first can hold a write up. Owned by the group's loop.
public final class Tap<Storage: JournalStorage> {
  public let journal: Journal<Storage>
  private let followers: AppendSignal
  private let observations: ObservationQueue

  public init(
    journal: Journal<Storage>, followers: AppendSignal, observations: ObservationQueue
  ) {
    self.journal = journal
    self.followers = followers
    self.observations = observations
  }

  /// Stamps one guest request and stages it. `record` points to its 28-byte header, which becomes
  /// the record's; a write's payload follows. Both must stay unchanged until `commit`.
  ///
  /// - Precondition: `journal.hasRoom`, and the range lies inside the disk.
  @inline(__always)
  public func stage(
    _ kind: RecordKind, disk: DiskNumber, offset: UInt64, length: UInt32, now: Timestamp,
    record: UnsafeMutableRawPointer
  ) throws(JournalError) {
    try unsafe journal.append(
      kind, disk: disk, offset: offset, length: length, now: now, record: record)
    observations.offer(
      WriteObservation(
        timestamp: now, offset: offset,
        source: kind == .write ? journal.sourceOfLast(length: length) : .zeros,
        length: length, disk: disk, kind: Self.observed(kind)))
  }

  /// Stages a marker record: `tagByteCount` bytes of the tag follow the 28 at `record`.
  public func checkpoint(
    tagByteCount: UInt32, now: Timestamp, record: UnsafeMutableRawPointer
  ) throws(JournalError) {
    try unsafe journal.append(
      .checkpoint, disk: DiskNumber(0), offset: 0, length: tagByteCount, now: now,
      record: record)
  }

  /// Stages what is on a disk, though no record that others have says so: a write, or zeros, of
  /// nobody's.
  public func content(
    _ kind: RecordKind, _ disk: DiskNumber, offset: UInt64, length: UInt32, now: Timestamp,
    record: UnsafeMutableRawPointer
  ) throws(JournalError) {
    try unsafe journal.append(
      kind, disk: disk, offset: offset, length: length, now: now, record: record)
  }

  /// Stages what a disk has come to: `payloadByteCount` bytes of it follow the 28 at `record`.
  public func disk(
    _ number: DiskNumber, payloadByteCount: UInt32, now: Timestamp,
    record: UnsafeMutableRawPointer
  ) throws(JournalError) {
    try unsafe journal.append(
      .disk, disk: number, offset: 0, length: payloadByteCount, now: now, record: record)
  }

  /// From time to time: nothing was written since the time before.
  public func giveBackIdleMemory() { observations.giveBackIdleMemory() }

  /// Makes what was staged visible to all three. Nothing staged may be acknowledged before.
  public func commit() throws(JournalError) {
    if try journal.commit() { followers.notify() }
  }

  @inline(__always)
  private static func observed(_ kind: RecordKind) -> WriteObservation.Kind {
    switch kind {
    case .write, .checkpoint, .disk: .write
    case .zero: .zero
    case .trim: .trim
    }
  }
}
