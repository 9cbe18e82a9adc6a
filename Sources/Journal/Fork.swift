import BlockModel

/// An ownership that was taken from another site and can still be given back (`tapline failover`).
/// In the state file until it is committed or taken back.
public struct Fork: Hashable, Sendable {
  /// What the next opening must know: whether an exchange of tails was under way.
  public enum Stage: UInt8, Hashable, Sendable {
    /// Records after the fork are on their way into the branch `parked`.
    case parking = 0
    /// This site owns, and nothing that it applies is later than the fork.
    case pending = 1
    /// It is being taken back: what was written since is on its way into the branch `returned`.
    case returning = 2
    /// Another site owns the group, and records that it lacks are on their way into the branch
    /// `parked`. What this site does else stays as it was.
    case yielding = 3
    /// The owner has dropped records that come next here. What is here behind the disks is on its
    /// way into the branch `parked`; then this site goes on as `LackingList.nextFileName` says,
    /// whose number is the lower half of `identity`.
    case jumping = 4
    /// What has come since the disks are brought in step is dropped, the disks become again what
    /// they were before, and the records in the branch `parked` are the group's once more.
    case reverting = 5
  }

  public var stage: Stage
  /// The last record that both histories have.
  public var after: JournalState.Mark
  /// The instant at which the disks are taken over.
  public var instant: Timestamp
  public var began: Timestamp
  /// When it commits itself; nil: when it is told to.
  public var commits: Timestamp?
  /// The branch with the records that this site had after the fork; empty: there were none.
  public var parked: String
  /// The branch with what the pending ownership has written, once that is taken back; empty while
  /// it is not, and when nothing was written.
  public var returned: String
  /// No incarnation of which the parked branch has records has a higher epoch.
  public var epoch: UInt64
  /// Number of the segment in which those records begin.
  public var tail: UInt32
  /// The last of them, and about how many bytes they take in a journal.
  public var end: JournalState.Mark
  public var byteCount: UInt64
  /// Random: what the branches are known by.
  public var identity: GroupIdentifier

  public init(
    at point: ForkPoint, instant: Timestamp, began: Timestamp, commits: Timestamp? = nil,
    parked: String = "", epoch: UInt64, identity: GroupIdentifier
  ) {
    stage = .parking
    after = point.last
    tail = point.tail ?? 0
    end = point.end
    byteCount = point.byteCount
    self.instant = instant
    self.began = began
    self.commits = commits
    self.parked = parked
    returned = ""
    self.epoch = epoch
    self.identity = identity
  }
}

/// Another site's ownership, by a higher term than this site's: this site acknowledges no write
/// any more.
public struct Fence: Hashable, Sendable {
  public var term: UInt64
  public var site: String
  /// It may be taken back; then this site owns the group again.
  public var isPending: Bool
  /// That site was asked to take the group over, and nobody knows yet whether it has.
  public var isMove: Bool

  public init(term: UInt64, site: String, isPending: Bool, isMove: Bool = false) {
    self.term = term
    self.site = site
    self.isPending = isPending
    self.isMove = isMove
  }
}

/// One for each other site: an owner that has stopped for two goes on when both have given the
/// group back.
extension [Fence] {
  /// What people are told of: for good before what may be taken back, then by the highest term.
  public var strongest: Fence? {
    self.max { a, b in
      a.isPending == b.isPending ? a.term < b.term : a.isPending && !b.isPending
    }
  }

  /// In place of what was known of that site, unless that was later.
  public mutating func note(_ fence: Fence) {
    guard let place = firstIndex(where: { $0.site == fence.site }) else { return append(fence) }
    if fence.term >= self[place].term { self[place] = fence }
  }

  public mutating func lift(_ site: String) { removeAll { $0.site == site } }
}

extension WireEncoder {
  mutating func put(_ fork: Fork?) {
    put(UInt8(fork == nil ? 0 : 1))
    guard let fork else { return }
    put(fork.stage.rawValue)
    put(fork.after.sequence.rawValue)
    for instant in [fork.after.timestamp, fork.instant, fork.began, fork.commits ?? .zero] {
      put(instant.rawValue)
    }
    put(fork.parked)
    put(fork.returned)
    put(fork.epoch)
    put(fork.tail)
    put(fork.end.sequence.rawValue)
    put(fork.end.timestamp.rawValue)
    put(fork.byteCount)
    put(fork.identity.high)
    put(fork.identity.low)
  }

  mutating func put(_ fences: [Fence]) {
    put(UInt8(fences.count))
    for fence in fences {
      put(fence.term)
      put(fence.site)
      put(UInt8((fence.isPending ? 1 : 0) | (fence.isMove ? 2 : 0)))
    }
  }
}

extension WireDecoder {
  mutating func takeFork() throws(Failure) -> Fork? {
    if try take(UInt8.self) == 0 { return nil }
    guard let stage = Fork.Stage(rawValue: try take()) else { throw .tooShort }
    let after = JournalState.Mark(SequenceNumber(try take()), Timestamp(rawValue: try take()))
    let (instant, began) = (Timestamp(rawValue: try take()), Timestamp(rawValue: try take()))
    let commits = Timestamp(rawValue: try take())
    let (parked, returned) = (try takeString(), try takeString())
    let (epoch, tail) = (try take(UInt64.self), try take(UInt32.self))
    let end = JournalState.Mark(SequenceNumber(try take()), Timestamp(rawValue: try take()))
    let point = ForkPoint(last: after, tail: tail, end: end, byteCount: try take())
    var fork = Fork(
      at: point, instant: instant, began: began, commits: commits == .zero ? nil : commits,
      parked: parked, epoch: epoch, identity: GroupIdentifier(high: try take(), low: try take()))
    fork.stage = stage
    fork.returned = returned
    return fork
  }

  mutating func takeFences() throws(Failure) -> [Fence] {
    var fences: [Fence] = []
    for _ in 0..<(try take(UInt8.self)) {
      let (term, site, flags) = (try take(UInt64.self), try takeString(), try take(UInt8.self))
      fences.append(
        Fence(term: term, site: site, isPending: flags & 1 != 0, isMove: flags & 2 != 0))
    }
    return fences
  }
}
