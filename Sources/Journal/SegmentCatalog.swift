import BlockModel
import Synchronization

/// The segments in use by number, for threads other than the loop: the link and views look a
/// segment up when they move on to it, not per record. A look-up takes a time that grows with the
/// logarithm of their count.
public final class SegmentCatalog<File: JournalFile>: Sendable {
  /// By number, which is the order of their records.
  private let segments = Mutex<[Segment<File>]>([])

  public init() {}

  public func segment(_ number: UInt32) -> Segment<File>? {
    segments.withLock { segments in Self.find(number, in: segments).map { segments[$0] } }
  }

  /// As `segment`, pinned: it stays until it is unpinned.
  public func pinned(_ number: UInt32) -> Segment<File>? {
    segments.withLock { segments in
      guard let index = Self.find(number, in: segments) else { return nil }
      segments[index].pin()
      return segments[index]
    }
  }

  /// All that there are, in the order of their records, pinned: they stay until they are unpinned.
  public func pinnedAll() -> [Segment<File>] {
    segments.withLock { segments in
      for segment in segments { segment.pin() }
      return segments
    }
  }

  /// As `pinnedAll`, those of lower numbers.
  public func pinnedAll(before number: UInt32) -> [Segment<File>] {
    segments.withLock { segments in
      let found = Array(segments.prefix { $0.number < number })
      for segment in found { segment.pin() }
      return found
    }
  }

  public var oldest: Segment<File>? {
    segments.withLock { $0.first }
  }

  public var newest: Segment<File>? {
    segments.withLock { $0.last }
  }

  /// The segment that holds `sequence`, or would hold it next.
  public func segment(holding sequence: UInt64) -> Segment<File>? {
    segments.withLock { segments in
      let next = segments.firstIndexInOrder { $0.firstSequence.rawValue > sequence }
      return next == 0 ? nil : segments[next - 1]
    }
  }

  /// The number of the newest segment before which all is applied, and durable at those who follow
  /// (`kept`, unless it is nil); nil when the oldest is needed.
  ///
  /// That segment is durable itself: a power cut may take all that are newer and leave only half of
  /// what a recycled file gets, and then nobody knew the number of the next segment.
  public func oldestNeeded(
    durable: SequenceNumber, applied: SequenceNumber, kept: SequenceNumber?
  ) -> UInt32? {
    let done = min(applied, kept ?? applied)
    return segment(holding: min(done.advanced(by: 1), durable).rawValue)?.number
  }

  func replaceAll(with new: [Segment<File>]) {
    segments.withLock { $0 = new }
  }

  /// It follows all that are here.
  func append(_ segment: Segment<File>) {
    segments.withLock { $0.append(segment) }
  }

  /// False when it is pinned and must stay.
  func removeUnlessPinned(_ segment: Segment<File>) -> Bool {
    segments.withLock { segments in
      if segment.isPinned { return false }
      if let index = Self.find(segment.number, in: segments) { segments.remove(at: index) }
      return true
    }
  }

  private static func find(_ number: UInt32, in segments: [Segment<File>]) -> Int? {
    let index = segments.firstIndexInOrder { $0.number >= number }
    return index < segments.count && segments[index].number == number ? index : nil
  }
}
