import BlockModel
import Journal
import Replication
import SystemIO

/// What a following group knows of its incoming link: of the connection that it has, and from one
/// to the next. A value; confined to the group's loop.
struct ReceivingState {
  private(set) var receiver: (any IncomingLink)?
  private(set) var vitals = LinkVitals(now: SystemClock.monotonicNanoseconds())
  private(set) var peerSite: String?
  /// Apply may not pass it: during a full copy, pieces that are still to come hold only so much.
  private(set) var applyLimit = SequenceNumber(.max)
  /// The record that comes next does not fit its disk here.
  private(set) var obstacle: Obstacle?
  /// What both sites say while an operator must decide.
  private(set) var divergence: String?
  /// The newest record of which the peer has said that it is durable there.
  private(set) var ownerDurable: JournalState.OwnerMark
  /// The group's `storeFailures` when the first piece of this connection could come.
  private(set) var failuresBefore = 0
  /// The end of a full copy was announced: from this record on the disks can be trusted.
  private var copyEnd: JournalState.Mark?
  /// As `copyEnd`, of what a former owner lacks.
  private var reconciledEnd: JournalState.Mark?
  /// What lies before each position comes with records up to another; see `GroupReconciling`.
  private var restampings: [(position: DiskPosition, record: SequenceNumber)] = []
  /// The last piece of the full copy is durable on the disks.
  private var isCopyStored = false
  /// What `GroupLifecycle.Step.reset` is.
  private var reset: (() -> Void)?
  /// Why a peer was refused last; said once, though it tries again and again.
  private var refusal: String?
  private var reported = Self.nothingReported

  private static let nothingReported = LinkProgress(
    isRecoverable: false, received: .none, durable: .none, applied: .none,
    durableTimestamp: .zero)

  init(ownerDurable: JournalState.OwnerMark) { self.ownerDurable = ownerDurable }

  // MARK: The connection

  /// A new connection is told everything.
  mutating func connected(_ receiver: any IncomingLink, from site: String, now: UInt64) {
    self.receiver = receiver
    vitals.began(now: now)
    peerSite = site
    reported = Self.nothingReported
    obstacle = nil
    refusal = nil
  }

  /// - Parameter last: the last record that is here.
  mutating func disconnected(now: UInt64, last: SequenceNumber) {
    // Of what has not come, the next connection tells.
    restampings.removeAll { $0.record > last }
    if receiver != nil { vitals.ended(now: now) }
    receiver = nil
    reset = nil
    copyEnd = nil
    isCopyStored = false
    reconciledEnd = nil
    applyLimit = SequenceNumber(.max)
  }

  /// Something of a peer with which this site agrees has come.
  mutating func heard(now: UInt64) { vitals.succeeded(now: now) }

  /// Whether that is another reason than the last time.
  mutating func refuses(because reason: String) -> Bool {
    defer { refusal = reason }
    return refusal != reason
  }

  /// Whether the peer does not know it yet; it does now.
  mutating func reports(_ progress: LinkProgress) -> Bool {
    defer { reported = progress }
    return reported != progress
  }

  mutating func stopped(before obstacle: Obstacle) { self.obstacle = obstacle }

  // MARK: Two histories

  mutating func diverged(_ text: String) { divergence = text }

  /// The sites agree on what is to come.
  mutating func agreed() { divergence = nil }

  /// The peer says what is durable there.
  mutating func owner(has mark: JournalState.OwnerMark) { ownerDurable = mark }

  /// What is behind this record is given up, of what was heard of the owner, too.
  mutating func cut(after sequence: SequenceNumber) {
    restampings.removeAll { $0.record > sequence }
    if ownerDurable.sequence > sequence { ownerDurable = .unknown }
  }

  // MARK: A reset

  mutating func awaitReset(_ action: @escaping () -> Void) {
    reset = action
    applyLimit = .none
  }

  mutating func takeReset() -> (() -> Void)? {
    defer { reset = nil }
    return reset
  }

  /// All that is in the journal may be applied.
  mutating func follows() { applyLimit = SequenceNumber(.max) }

  // MARK: A full copy

  /// Pieces come: nothing may be applied behind this record.
  ///
  /// - Parameter failures: the group's `storeFailures`.
  mutating func copies(holding applied: SequenceNumber, failures: Int) {
    applyLimit = applied
    #if MUTANTS
      if Mutant.applyDuringCopy.isOn { applyLimit = SequenceNumber(.max) }
    #endif
    failuresBefore = failures
  }

  /// This piece and all that come later hold so much.
  mutating func copied(holding applied: SequenceNumber) { applyLimit = max(applyLimit, applied) }

  /// No piece is to come any more.
  mutating func copyEnds(at mark: JournalState.Mark) {
    copyEnd = mark
    applyLimit = SequenceNumber(.max)
  }

  mutating func copyIsStored() { isCopyStored = true }

  /// The end of a copy of which the disks hold all pieces, and the journal, durably, what changed
  /// meanwhile; once.
  mutating func takeWholeCopy(durable: SequenceNumber) -> JournalState.Mark? {
    guard let mark = copyEnd, isCopyStored, durable >= mark.sequence else { return nil }
    copyEnd = nil
    return mark
  }

  // MARK: What a former owner lacks

  /// What lies before the position comes with the records up to this one.
  mutating func restamps(to position: DiskPosition, by record: SequenceNumber) {
    // One that is not durable yet waits, and the newest.
    if restampings.count > 1 { restampings.removeLast() }
    restampings.append((position, record))
  }

  /// What of that is durable, and was not told yet.
  func reached(durable: SequenceNumber) -> JournalState.Lack? {
    restampings.last { $0.record <= durable }.map {
      .init(list: 0, reached: $0.position, by: $0.record)
    }
  }

  /// It is in the state file.
  mutating func noted(_ reached: JournalState.Lack) {
    restampings.removeAll { $0.record <= reached.record }
  }

  mutating func reconciles(at mark: JournalState.Mark) { reconciledEnd = mark }

  /// The record with which nothing is lacking any more, once it is durable; once.
  mutating func takeReconciled(durable: SequenceNumber) -> JournalState.Mark? {
    guard let mark = reconciledEnd, durable >= mark.sequence else { return nil }
    reconciledEnd = nil
    return mark
  }
}
