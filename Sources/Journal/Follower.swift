import BlockModel
import Synchronization

/// Whoever receives a group's records: a peer site. Its marks, whether the journal keeps for it
/// what it lacks, and its own wake-up.
///
/// Any thread reads. The marks are written by the one thread that hears from the follower, through
/// the `Reporter`; nobody else has one.
public final class Follower: Sendable {
  /// What becomes of the follower when the journal is full of what only it lacks.
  public enum WhenFull: Sendable {
    /// Writes wait for it.
    case block
    /// Writes are slowed down before the journal is full, and wait then.
    case throttle
    /// Its records are dropped. What they changed is kept in mind, and it gets that later.
    case degrade
  }

  /// The name of its site: unique in a group.
  public let site: String
  public let whenFull: WhenFull
  /// What a full copy that is under way, also while nothing connects, still has to bring.
  public let debt = CopyDebt()
  /// What records have changed that were dropped for it.
  public let dropped = DroppedRecord()

  private let index: Int
  private let signal: AppendSignal
  private let receivedMark = Atomic<UInt64>(0)
  private let durableMark: Atomic<UInt64>
  private let appliedMark = Atomic<UInt64>(0)
  private let keeping: Atomic<Keeping>
  private let onDetach = Mutex<(@Sendable () -> Void)?>(nil)

  /// - Parameter known: what the state file says of it.
  init(
    site: String, whenFull: WhenFull, known: JournalState.FollowerMark?, index: Int,
    signal: AppendSignal
  ) {
    self.site = site
    self.whenFull = whenFull
    self.index = index
    self.signal = signal
    durableMark = Atomic(known?.durable.rawValue ?? 0)
    keeping = Atomic(known?.isKept ?? true ? .kept : .wasNot)
  }

  // MARK: Marks

  /// The marks are those of its last report: `received ≥ durable ≥ applied`.
  public var received: SequenceNumber { SequenceNumber(receivedMark.load(ordering: .acquiring)) }
  public var durable: SequenceNumber { SequenceNumber(durableMark.load(ordering: .acquiring)) }
  public var applied: SequenceNumber { SequenceNumber(appliedMark.load(ordering: .acquiring)) }

  /// The pen of the one thread that hears from the follower.
  public struct Reporter: Sendable {
    public let follower: Follower

    public func report(
      received: SequenceNumber, durable: SequenceNumber, applied: SequenceNumber
    ) {
      precondition(
        received >= durable && durable >= applied,
        "marks cross: \(received), \(durable), \(applied)")
      follower.receivedMark.store(received.rawValue, ordering: .releasing)
      follower.durableMark.store(durable.rawValue, ordering: .releasing)
      follower.appliedMark.store(applied.rawValue, ordering: .releasing)
    }

    /// It goes on after `last`, and what it lacks is kept: damage may have cost it what was durable
    /// there. Whether the journal still has that is looked at after this.
    public func goesOn(after last: SequenceNumber) {
      follower.receivedMark.store(last.rawValue, ordering: .releasing)
      follower.durableMark.store(min(follower.durable, last).rawValue, ordering: .releasing)
      _ = follower.keeping.compareExchange(
        expected: .wasNot, desired: .kept, ordering: .acquiringAndReleasing)
    }

    /// As `goesOn`, also for one that was given up.
    public func isKeptAgain(after last: SequenceNumber) {
      goesOn(after: last)
      follower.keeping.store(.kept, ordering: .releasing)
    }

    /// It is to go on behind `last`, and nobody knows yet whether it does: what follows is kept.
    public func jumps(behind last: SequenceNumber) {
      let before = SequenceNumber(last.rawValue - min(1, last.rawValue))
      report(received: before, durable: before, applied: .none)
      follower.keeping.store(.kept, ordering: .releasing)
    }

    /// A full copy begins or goes on: until it is nearly whole, the journal keeps nothing for the
    /// follower, and it has nothing.
    public func copyBegins() {
      follower.keeping.store(.nothing, ordering: .releasing)
      report(received: .none, durable: .none, applied: .none)
    }

    /// The copy holds everything up to `start`, and records are sent from there on: they are kept.
    public func copyFollows(from start: SequenceNumber) {
      report(received: start, durable: start, applied: start)
      follower.keeping.store(.kept, ordering: .releasing)
    }
  }

  /// For its link, and for nobody else.
  public var reporter: Reporter { Reporter(follower: self) }

  // MARK: What is kept

  private enum Keeping: UInt8, AtomicRepresentable {
    case kept
    /// When the group was open last, nothing was kept for it, or a copy was under way. It may be
    /// whole, or the journal may reach back all the same: that is seen when the follower connects.
    case wasNot
    case nothing
  }

  /// The journal keeps nothing for it, and its marks count for nothing.
  public var isDetached: Bool { keeping.load(ordering: .acquiring) != .kept }

  /// As `isDetached`, since the group was opened: what it lacks may be gone.
  public var isGivenUp: Bool { keeping.load(ordering: .acquiring) == .nothing }

  /// By the group's loop, when it must have the journal's space.
  public func detach() {
    keeping.store(.nothing, ordering: .releasing)
    onDetach.withLock { $0 }?()
  }

  /// What ends a connection that can bring nothing any more.
  public func setOnDetach(_ action: (@Sendable () -> Void)?) { onDetach.withLock { $0 = action } }

  // MARK: Waiting

  /// What to call when the journal grows, once after each `arm`; it must not block. Any thread.
  public func setOnGrowth(_ action: (@Sendable () -> Void)?) { signal.setWaker(index, action) }

  /// Wants to hear when the journal grows next. Who has armed looks once more at the journal before
  /// it waits; growth of just that moment may be missed, so it also looks from time to time.
  public func arm() { signal.arm(index) }
}
