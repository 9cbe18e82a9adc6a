import BlockModel
import Synchronization

/// The segments in use by number, for threads other than the loop: the link and views look a
/// segment up when they move on to it, not per record.
public final class SegmentCatalog<File: JournalFile>: Sendable {
  private let segments = Mutex<[UInt32: Segment<File>]>([:])

  public init() {}

  public func segment(_ number: UInt32) -> Segment<File>? {
    segments.withLock { $0[number] }
  }

  /// As `segment`, pinned: it stays until it is unpinned.
  public func pinned(_ number: UInt32) -> Segment<File>? {
    segments.withLock { segments in
      segments[number]?.pin()
      return segments[number]
    }
  }

  public var oldest: Segment<File>? {
    segments.withLock { $0.min { $0.key < $1.key }?.value }
  }

  public var newest: Segment<File>? {
    segments.withLock { $0.max { $0.key < $1.key }?.value }
  }

  /// The segment that holds `sequence`, or would hold it next.
  public func segment(holding sequence: UInt64) -> Segment<File>? {
    segments.withLock { segments in
      segments.values.filter { $0.firstSequence.rawValue <= sequence }
        .max { $0.number < $1.number }
    }
  }

  /// The number of the newest segment before which all is applied, and durable at the peer (unless
  /// `peerMark` is nil); nil when the oldest is needed.
  ///
  /// That segment is durable itself: a power cut may take all that are newer and leave only half of
  /// what a recycled file gets, and then nobody knew the number of the next segment.
  public func oldestNeeded(
    durable: SequenceNumber, applied: SequenceNumber, peerMark: SequenceNumber?
  ) -> UInt32? {
    let done = min(applied, peerMark ?? applied)
    return segment(holding: min(done.advanced(by: 1), durable).rawValue)?.number
  }

  func replaceAll(with new: [Segment<File>]) {
    segments.withLock { segments in
      segments.removeAll()
      for segment in new { segments[segment.number] = segment }
    }
  }

  func insert(_ segment: Segment<File>) {
    segments.withLock { $0[segment.number] = segment }
  }

  /// False when it is pinned and must stay.
  func removeUnlessPinned(_ segment: Segment<File>) -> Bool {
    segments.withLock { segments in
      if segment.isPinned { return false }
      segments[segment.number] = nil
      return true
    }
  }
}
