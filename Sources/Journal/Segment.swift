import BlockModel
import Synchronization
import SystemIO

/// What of a segment was verified, and is applied since.
public struct AppliedPart: Sendable {
  /// Where its last record ends.
  var end = SegmentHeader.byteCount
  var recordCount: UInt64 = 0
}

/// One use of a segment file: from the header that opens it until the file is recycled.
///
/// One thread (the group's loop) appends; others read what is published. `end` is published after
/// the bytes below it are in the file, so a reader that loads `end` may read up to there.
public final class Segment<File: JournalFile>: Sendable {
  public let header: SegmentHeader
  public let file: File
  /// Which of the journal's files this is.
  let slot: Int
  /// What the checksum of record `i` starts from is this XOR `i`.
  public let checksumSeed: UInt32

  private let publishedEnd: Atomic<Int>
  private let sealed: Atomic<Bool>
  private let sealedTimestamp: Atomic<UInt64>
  private let pinCount = Atomic<Int>(0)
  let applied = Mutex(AppliedPart())

  init(
    header: SegmentHeader, file: File, slot: Int, end: Int, isSealed: Bool,
    lastTimestamp: Timestamp = .zero
  ) {
    self.header = header
    self.file = file
    self.slot = slot
    checksumSeed = header.identity.checksumSeed
    publishedEnd = Atomic(end)
    sealed = Atomic(isSealed)
    sealedTimestamp = Atomic(lastTimestamp.rawValue)
  }

  public var number: UInt32 { header.number }
  public var firstSequence: SequenceNumber { header.firstSequence }

  /// Bytes that hold whole records, from the start of the file.
  public var end: Int { publishedEnd.load(ordering: .acquiring) }
  /// No more records will come. Load it before `end` to know that `end` is final.
  public var isSealed: Bool { sealed.load(ordering: .acquiring) }

  func publish(end: Int) { publishedEnd.store(end, ordering: .releasing) }
  /// Of the last record, or later and promised to have none at or before it; once it is sealed.
  var lastTimestamp: Timestamp { Timestamp(rawValue: sealedTimestamp.load(ordering: .relaxed)) }

  /// - Parameter lastTimestamp: of the last record, or a later one that no record will be at or
  ///   before.
  func seal(lastTimestamp: Timestamp) {
    sealedTimestamp.store(lastTimestamp.rawValue, ordering: .relaxed)
    sealed.store(true, ordering: .releasing)
  }

  /// A pinned segment is not recycled: a view or a read under way still needs its bytes.
  public func pin() { pinCount.add(1, ordering: .relaxed) }
  public func unpin() { pinCount.subtract(1, ordering: .releasing) }
  var isPinned: Bool { pinCount.load(ordering: .acquiring) > 0 }
}
