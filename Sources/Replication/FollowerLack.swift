import BlockModel
import Journal
import Synchronization

/// What one follower lacks of the disks though no record says so, and what it has in that place,
/// between the link that hears of it and the group that makes records of what differs:
/// `GroupRestamping`. Any thread.
///
/// The follower hears of no record that a power cut here could take: what it has crossed off its
/// list does not come again.
public final class FollowerLack: Sendable {
  /// What one connection has asked for.
  public struct Request: Sendable {
    /// Of no other one of this link.
    public let number: UInt64
    /// The last record that the follower had in common with this site when it began to lack.
    public let common: SequenceNumber
    /// Of records between the common one and this one, which this site has parked, the follower
    /// does not know any more what they have changed.
    public let exactAfter: JournalState.OwnerMark
    public let extents: DiskExtents
  }

  /// How far that is.
  public struct Progress: Equatable, Sendable {
    public var byteCount: UInt64
    /// Of these, so many were the same at the follower.
    public var equalByteCount: UInt64 = 0
    public var total: UInt64

    /// 0 to 1.
    public var share: Double { total == 0 ? 1 : Double(byteCount) / Double(total) }
  }

  /// What is to be told to the follower.
  enum News: Equatable {
    /// What lies before the position is in the order by this record.
    case reached(DiskPosition, by: SequenceNumber)
    /// All is, by this one.
    case whole(JournalState.Mark)
  }

  private struct Content {
    var request: Request?
    var digests: DigestWindow?
    var count: UInt64 = 0
    var progress: Progress?
    /// Waits for its record to be durable here.
    var waiting: (position: DiskPosition, record: SequenceNumber)?
    /// Came since.
    var latest: (position: DiskPosition, record: SequenceNumber)?
    var end: JournalState.Mark?
  }

  private let content = Mutex(Content())
  private let hasGivenUp = Atomic(false)

  init() {}

  // MARK: The link

  func ask(
    _ extents: DiskExtents, after common: SequenceNumber, exactAfter: JournalState.OwnerMark
  ) {
    content.withLock { content in
      content = Content(count: content.count + 1)
      content.request = Request(
        number: content.count, common: common, exactAfter: exactAfter, extents: extents)
      content.digests = DigestWindow(of: extents)
      content.progress = Progress(byteCount: 0, total: extents.byteCount)
    }
  }

  /// Nobody knows any more what it lacks: it is to be told so with the next connection.
  public var isGivenUp: Bool { hasGivenUp.load(ordering: .acquiring) }

  /// It was told.
  func startsOver() { hasGivenUp.store(false, ordering: .releasing) }

  /// The digests of as many blocks from the position on. Throws, with nothing taken, when they are
  /// not what is asked for.
  func take(_ digests: [BlockDigest], from position: DiskPosition) throws(LinkError) {
    let result = content.withLock { content -> Result<Void, LinkError> in
      do throws(LinkError) {
        return .success(try content.digests?.take(digests, from: position) ?? ())
      } catch { return .failure(error) }
    }
    try result.get()
  }

  /// The connection has ended.
  func withdraw() {
    content.withLock { $0 = Content(count: $0.count) }
  }

  /// What is new and durable, once.
  func news(durable: SequenceNumber) -> News? {
    content.withLock { content in
      if let end = content.end, end.sequence <= durable {
        content = Content(count: content.count)
        return .whole(end)
      }
      guard let next = content.waiting, next.record <= durable else { return nil }
      content.waiting = content.latest
      content.latest = nil
      return .reached(next.position, by: next.record)
    }
  }

  // MARK: The group

  /// What is to be made records of now; nil: nothing.
  public var request: Request? {
    content.withLock { $0.end == nil ? $0.request : nil }
  }

  /// Nil when nothing is under way.
  public var progress: Progress? { content.withLock { $0.progress } }

  /// What the follower has said of the byte at `position`, which the request may name.
  public func word(at position: DiskPosition, of number: UInt64) -> DigestWindow.Word {
    content.withLock { content in
      guard content.request?.number == number, let digests = content.digests else {
        return .awaited
      }
      return digests.word(at: position)
    }
  }

  /// What the request names before `position` is in the order by `record`, or is the same at the
  /// follower.
  ///
  /// - Parameters:
  ///   - byteCount: so many bytes are done.
  ///   - equal: so many of these were the same.
  public func reached(
    _ position: DiskPosition, by record: SequenceNumber, byteCount: UInt64, equal: UInt64 = 0,
    of number: UInt64
  ) {
    content.withLock { content in
      guard content.request?.number == number else { return }
      content.digests?.passed(position)
      content.progress?.byteCount = byteCount
      content.progress?.equalByteCount = equal
      if content.waiting == nil {
        content.waiting = (position, record)
      } else {
        content.latest = (position, record)
      }
    }
  }

  /// What the request names is not all that the follower lacks, and the rest is not known.
  public func giveUp(_ number: UInt64) {
    content.withLock { content in
      if content.request?.number == number { hasGivenUp.store(true, ordering: .releasing) }
    }
  }

  /// All that the request names is in the order by `mark`.
  public func ended(at mark: JournalState.Mark, of number: UInt64) {
    content.withLock { content in
      guard content.request?.number == number else { return }
      content.end = mark
    }
  }
}
