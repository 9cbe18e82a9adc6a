import BlockModel
import SystemIO

/// What a group must know of itself besides the segments: a small record, replaced as a whole.
public struct JournalState: Equatable, Sendable {
  /// How far the base disks are a copy of the protected ones.
  public enum Baseline: Equatable, Sendable {
    /// The base was never filled: a recovery group that has not met its peer, or whose peer told
    /// that order was lost.
    case missing
    /// A sync is filling it; instants before its end do not exist.
    case copying
    /// It owned the group before, and follows on: some bytes are as its own records left them, and
    /// come as records of the next owner. Instants before the last of these do not exist.
    case reconciling
    case complete
  }

  public struct Mark: Hashable, Sendable {
    public var sequence: SequenceNumber
    public var timestamp: Timestamp
    public init(_ sequence: SequenceNumber, _ timestamp: Timestamp) {
      self.sequence = sequence
      self.timestamp = timestamp
    }
    public static let origin = Mark(.none, .zero)
  }

  /// A record, and the incarnation that stamped it.
  public struct OwnerMark: Hashable, Sendable {
    public var incarnation: IncarnationIdentifier
    public var sequence: SequenceNumber
    public init(_ incarnation: IncarnationIdentifier, _ sequence: SequenceNumber) {
      self.incarnation = incarnation
      self.sequence = sequence
    }
    public static let unknown = OwnerMark(.none, .none)
  }

  /// What a recovery group has of a full copy. The peer, which alone knows what was sent before
  /// which of its questions, compares this with what it was told.
  public struct Copy: Hashable, Sendable {
    /// Drawn by the peer for this one copy; 0: none.
    public var number: UInt64
    /// The peer's last question that was answered with yes: what came before it is on the disks.
    public var stored: UInt64
    public init(number: UInt64, stored: UInt64 = 0) {
      self.number = number
      self.stored = stored
    }
    public static let none = Copy(number: 0)
  }

  /// What a former owner lacks of the next one's disks, of the list in `LackingList`.
  public struct Lack: Hashable, Sendable {
    /// Of the list; 0: none.
    public var list: UInt64
    /// What lies before it has come, with records up to this one.
    public var reached: DiskPosition
    public var record: SequenceNumber
    /// The branch in which the site has parked what it had before; empty: there is none.
    public var before: String
    public init(
      list: UInt64, reached: DiskPosition = .start, by record: SequenceNumber = .none,
      before: String = ""
    ) {
      self.list = list
      self.reached = reached
      self.record = record
      self.before = before
    }
    public static let none = Lack(list: 0)
  }

  /// What a follower has durably: nothing, when no mark names it.
  public struct FollowerMark: Hashable, Sendable {
    public var site: String
    public var durable: SequenceNumber
    /// The journal keeps what it lacks; otherwise it must be copied.
    public var isKept: Bool
    public init(site: String, durable: SequenceNumber, isKept: Bool = true) {
      self.site = site
      self.durable = durable
      self.isKept = isKept
    }
  }

  public var groupName: String
  public var group: GroupIdentifier
  /// Where the state file was when the group was served last: elsewhere, it is a copy.
  public var folder: String
  public var ownership: Ownership
  /// Where this site's ownership began, while it can be taken back; nil otherwise.
  public var fork: Fork?
  /// Whose ownerships are in force instead of this owner's, of each site the last one; empty:
  /// nobody's that is known here.
  public var fences: [Fence] = []
  /// At a protected group its incarnations, the newest being the one that stamps; at a recovery
  /// group those of which it has records.
  public var lineage: Lineage
  /// The bases hold everything up to here.
  public var applied: Mark
  /// An apply step up to here may have begun: the bases may hold parts of what lies between.
  public var applyTarget: Mark
  /// At least this much is durable.
  public var durable: SequenceNumber
  /// At least this much is durable at those who follow.
  public var followers: [FollowerMark]
  /// At a recovery group: the newest record of which it has heard that it was durable at its owner.
  public var ownerDurable: OwnerMark
  public var baseline: Baseline
  /// The full copy that is under way.
  public var copy: Copy
  /// While `baseline` is `reconciling`.
  public var lack: Lack
  /// That no record at or before it will follow: at the stamping side what may be given, at a
  /// receiving side what the peer gave when all records up to it were durable here.
  public var promise: Promise
  /// Instants before it cannot be opened (set when a sync ends).
  public var historyStart: Timestamp
  /// Segments of a lower number may have been recycled: whatever a slot holds under such a header
  /// is void. Durable before such a segment's file is written over, so that a power cut which loses
  /// a new header and keeps new records leaves no old header that is believed.
  public var oldestSegment: UInt32
  public var isClean: Bool
  /// No disk had this number yet.
  public var nextDisk: UInt16
  /// In ascending order of their numbers; also those that left and of which instants are left.
  public var disks: [Disk]
  /// Intervals of the timeline in which order was lost, oldest first; bounded by `gapLimit`.
  public var gaps: [Gap]

  public struct Gap: Equatable, Sendable {
    public var from: Timestamp
    public var to: Timestamp
    public init(from: Timestamp, to: Timestamp) {
      self.from = from
      self.to = to
    }
  }

  public static let gapLimit = 64

  /// As many as a group's configuration may have.
  public static let followerLimit = 8

  /// What the lists take in the state file, beside the disks, when they are as long as they get:
  /// incarnations, gaps, and followers with their sites' names.
  static var listByteLimit: Int {
    let follower = 2 + EntityName.maximumBytes + 8 + 1
    let fork = 1 + 8 + 4 * 8 + 2 * (2 + EntityName.maximumBytes) + 8 + 4 + 3 * 8 + 16
    let fence = 8 + (2 + EntityName.maximumBytes) + 1
    let before = EntityName.maximumBytes
    return Lineage.limit * Incarnation.byteCount + gapLimit * 16 + followerLimit * follower
      + fork + followerLimit * fence + before
  }

  public var epoch: UInt64 { lineage.epoch }

  /// The bases are no state of the group that records go on from: a full copy must come first.
  public var needsBaseline: Bool { baseline == .missing || baseline == .copying }

  /// A new group: the one whose disks are complete owns it, and begins its first incarnation.
  public init(groupName: String, group: GroupIdentifier, disks: [Disk], baseline: Baseline) {
    self.groupName = groupName
    self.group = group
    folder = ""
    ownership = Ownership(beginning: baseline == .complete ? .owning : .following)
    lineage = Lineage()
    if baseline == .complete {
      lineage.begin(after: .origin, term: ownership.term, replacingNewest: false)
    }
    applied = .origin
    applyTarget = .origin
    durable = .none
    followers = []
    ownerDurable = .unknown
    self.baseline = baseline
    copy = .none
    lack = .none
    promise = .none
    historyStart = .zero
    oldestSegment = 0
    isClean = true
    self.disks = disks
    nextDisk = UInt16(disks.numberCount)
    gaps = []
  }

  /// Nothing is written any more until the next start, and all is durable.
  ///
  /// - Parameter promised: what was given, and nothing later will be.
  public mutating func noteStop(
    durable: SequenceNumber, followers: [FollowerMark], promised: Timestamp
  ) {
    isClean = true
    promise = Promise(given: promised)
    self.durable = max(self.durable, durable)
    self.followers = followers
  }

  /// Begins the next incarnation with the record after `last`. One that ended cleanly before it had
  /// stamped anything leaves no trace.
  ///
  /// - Parameter floor: as in `Lineage.begin`.
  public mutating func beginIncarnation(after last: Mark, above floor: UInt64 = 0) {
    let isEmpty = isClean && lineage.newest?.after.sequence == last.sequence
    lineage.begin(after: last, term: ownership.term, replacingNewest: isEmpty, above: floor)
    #if MUTANTS
      if Mutant.keepPeerMark.isOn { return }
    #endif
    // A follower may have had more, of what is lost; its records are not those that will come.
    for index in followers.indices {
      followers[index].durable = min(followers[index].durable, last.sequence)
    }
  }

  /// The change after this one was written down and may be lost: that the group is in use, that an
  /// incarnation has begun, that a follower's mark was set back.
  public mutating func distrust() {
    isClean = false
    promise.distrust()
    followers = []
  }

  /// Instants up to the last that was told showed something else: that one is in the gap, too.
  mutating func noteGap(from start: Timestamp, toldThrough told: Timestamp) {
    noteGap(.init(from: start, to: Timestamp(rawValue: told.rawValue + 1)))
  }

  public mutating func noteGap(_ gap: Gap) {
    gaps.append(gap)
    if gaps.count > Self.gapLimit { gaps.removeFirst(gaps.count - Self.gapLimit) }
  }

  /// A full copy is complete: instants can be opened again from `start` on, and the gap that the
  /// copy began ends there.
  public mutating func completeBaseline(at start: Timestamp) {
    beginsHistory(at: start)
    // Until now its end was taken from this site's clock, which may be ahead of the peer's.
    if let last = gaps.indices.last { gaps[last].to = start }
    // The peer may have lost what was the end of the history here.
    for index in gaps.indices {
      gaps[index].from = min(gaps[index].from, start)
      gaps[index].to = min(gaps[index].to, start)
    }
  }

  /// Nanoseconds by which the clocks of two sites may differ without an instant that was told by
  /// the one showing what the other has made of it.
  private static var clockTolerance: UInt64 { 5_000_000_000 }

  private mutating func beginsHistory(at start: Timestamp) {
    baseline = .complete
    (copy, lack) = (.none, .none)
    historyStart = start
    promise = Promise(given: max(promise.through, start))
  }

  /// What a follower lacked has all come, with records up to `mark`. Before that the bases and the
  /// records are no state of the group, so nothing behind it can be cut off, either.
  public mutating func completeReconciling(at mark: Mark) {
    beginsHistory(at: mark.timestamp)
    if let last = gaps.indices.last {
      // The owner's clock may be behind that by which instants were told here before. A moment is
      // waited for; for a clock that is wrong nobody is to be without history.
      let ahead = max(gaps[last].to.rawValue, mark.timestamp.rawValue) - mark.timestamp.rawValue
      if ahead > Self.clockTolerance { gaps[last].to = mark.timestamp }
      historyStart = max(gaps[last].to, mark.timestamp)
      gaps[last].to = historyStart
    }
    if mark.sequence > applyTarget.sequence { applyTarget = mark }
    // Instants are offered of which these are part: that they are lost is then damage.
    durable = max(durable, mark.sequence)
  }
}
