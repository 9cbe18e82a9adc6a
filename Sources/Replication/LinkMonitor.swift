import BlockModel
import Journal
import Synchronization
import SystemIO

/// What a link tells the rest of the site about itself. Any thread.
public final class LinkMonitor: Sendable {
  public enum State: String, Sendable {
    case connecting, waiting, refused, diverged, syncing, connected, stopped
  }

  public struct Snapshot: Sendable {
    public var state = State.connecting
    /// The last failure; empty when there is none.
    public var detail = ""
    public var sentByteCount: UInt64 = 0
    public var wireByteCount: UInt64 = 0
    public var reconnectCount: UInt64 = 0
    /// Damaged records of the journal that were made again from the disks.
    public var restoredCount: UInt64 = 0
    /// What was done about the last damaged record; empty when there was none.
    public var repair = ""
    /// 0 to 1; nil when no full copy runs.
    public var syncProgress: Double?
    /// Of what a full copy has brought, the peer had so much already.
    public var alikeByteCount: UInt64 = 0
    /// The peer's disks are a whole copy: what is durable there can be opened.
    public var isRecoverable = false
    /// When the peer was last told that it has everything, the instant up to which that held.
    public var completeThroughNanoseconds: UInt64 = 0
    /// As the peer last said; empty before.
    public var peerDisks: [JournalState.Disk] = []
    public var vitals: LinkVitals
    /// What the peer had when the sites were found to have diverged, and words for it; nil while
    /// they have not.
    public var divergence: (seen: JournalState.OwnerMark, text: String)?

    /// A connection sends. What the peer refused on the last one, it may refuse on this: that
    /// stands until something is taken.
    mutating func sends(_ state: State) {
      if self.state == .refused { return }
      self.state = state
      detail = ""
    }

    /// The peer takes what is sent. Whether that is news.
    mutating func noteTaken() -> Bool {
      guard state == .refused else { return false }
      state = syncProgress == nil ? .connected : .syncing
      detail = ""
      return true
    }
  }

  /// To whom it sends.
  public let follower: Follower
  /// What it lacks, as it owned the group before.
  public let lack = FollowerLack()
  private let content: Monitor<Snapshot>
  /// The operator gives up what a peer has that ends with this record.
  private let discarded = Mutex<JournalState.OwnerMark?>(nil)
  /// Nothing more is to be written to the segment of this number; 0: to none.
  private let ending = Atomic<UInt32>(0)

  /// A closure that is a lock's whole content is wrapped once more by each use of the lock.
  private struct Hooks {
    var hurry: (@Sendable () -> Void)?
    var news: (@Sendable () -> Void)?
    var meeting: (@Sendable (Rival?, _ greeted: UInt64) -> Void)?
  }

  private let hooks = Mutex(Hooks())
  /// When this site has said hello last.
  private let greeted = Atomic<UInt64>(0)

  init(_ follower: Follower, now: UInt64) {
    self.follower = follower
    content = Monitor(Snapshot(vitals: LinkVitals(now: now)))
  }

  public var peerSite: String { follower.site }

  public var snapshot: Snapshot { content.withLock { $0 } }

  func update(_ change: (inout Snapshot) -> Void) { content.update { change(&$0) } }

  /// The link sends nothing any more.
  public func stopped() { update { $0.state = .stopped } }

  /// Blocks until what the link says of itself is as wanted, or the deadline, in monotonic
  /// nanoseconds, has come; says which. Not on a loop.
  @discardableResult
  public func wait(until deadline: UInt64, _ isAsWanted: (Snapshot) -> Bool) -> Bool {
    let now = SystemClock.monotonicNanoseconds()
    let milliseconds = deadline > now ? (deadline - now) / 1_000_000 : 0
    let found: Void? = content.wait(milliseconds: milliseconds) { content, _ in
      isAsWanted(content) ? () : nil
    }
    return found != nil
  }

  /// Somebody waits: for the peer to have everything, or for a connection. Does not wait itself.
  public func hurry() { hooks.withLock { $0.hurry }?() }

  public func setOnHurry(_ action: (@Sendable () -> Void)?) { hooks.withLock { $0.hurry = action } }

  /// What the greeting says of this site has changed: the connection is made anew, so that the peer
  /// hears of it. Does not wait.
  public func greetAnew() { hooks.withLock { $0.news }?() }

  public func setOnNews(_ action: (@Sendable () -> Void)?) { hooks.withLock { $0.news = action } }

  /// The operator's decision that the peer's copy gives way; it is carried out when the link
  /// connects next, which is soon, if the peer still has what was shown. False when the sites have
  /// not diverged.
  public func discardFollower() -> Bool {
    guard let seen = snapshot.divergence?.seen else { return false }
    discarded.withLock { $0 = seen }
    hurry()
    return true
  }

  func mayDiscard(_ seen: JournalState.OwnerMark) -> Bool { discarded.withLock { $0 == seen } }

  /// The sites agree.
  func agreed() {
    discarded.withLock { $0 = nil }
    update { $0.divergence = nil }
    follows()
  }

  /// The peer owns the group no more, if it did, though it may be long until it gets records.
  func follows() { tellMeeting(nil) }

  func greets(_ now: UInt64) { greeted.store(now, ordering: .relaxed) }

  /// The peer owns the group itself.
  func meets(_ rival: Rival) { tellMeeting(rival) }

  private func tellMeeting(_ rival: Rival?) {
    hooks.withLock { $0.meeting }?(rival, greeted.load(ordering: .relaxed))
  }

  /// - Parameter action: called with the owner to whom this site gives way, or with nil when the
  ///   peer follows, and with the time, in monotonic nanoseconds, after which it was so; on the
  ///   thread of the link.
  public func setOnMeeting(_ action: (@Sendable (Rival?, _ greeted: UInt64) -> Void)?) {
    hooks.withLock { $0.meeting = action }
  }

  func askToEnd(_ segment: UInt32) { ending.store(segment, ordering: .relaxed) }

  /// By the group's loop, from time to time: the segment that the link cannot send whole, so that
  /// the next record is to begin another; nil when there is none.
  public func takeSegmentToEnd() -> UInt32? {
    let number = ending.exchange(0, ordering: .relaxed)
    return number == 0 ? nil : number
  }
}
