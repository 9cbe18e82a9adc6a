import BlockModel
import Journal

/// What keeps a group's instants as they are, as a value: no instant is opened, or told to anybody
/// as one that can be, unless what it stands on is durable. Times are monotonic nanoseconds.
struct PromiseLedger {
  /// What must come first, before an instant can be opened for ever.
  enum Securing: Equatable, Sendable {
    /// Nothing.
    case done
    /// The records that are in the journal become durable.
    case sync
    /// The state file names it as what may have been promised.
    case reservation
    /// The state file names what the owner has promised.
    case note
  }

  /// Of the machine.
  let boot: UInt64
  /// At a following group: what the owner promised, and all records of it are durable here.
  private(set) var known: Timestamp
  /// The same, with the last record that had come then.
  private var heard: (through: Timestamp, after: SequenceNumber)?
  private var lastChange: UInt64 = 0
  /// Called, too, when durable records are not to be expected any more.
  private var waits: [(through: SequenceNumber, action: () -> Void)] = []

  /// A state file that is at rest is written so often.
  private static var changePeriodNanoseconds: UInt64 { 25_000_000_000 }
  private static var askedPeriodNanoseconds: UInt64 { 5_000_000_000 }
  private static var retryPeriodNanoseconds: UInt64 { 1_000_000_000 }
  /// An owner's reservation is renewed when less is left of it,
  private static var reserveNanoseconds: UInt64 { 5_000_000_000 }
  /// and when what is given stays behind by more.
  private static var lagNanoseconds: UInt64 { 1_000_000_000 }

  init(known: Timestamp, boot: UInt64) {
    self.known = known
    self.boot = boot
  }

  // MARK: The state file

  mutating func changes(now: UInt64) { lastChange = now }

  /// At an owner: whether the state file must reserve more.
  ///
  /// - Parameter given: what the journal has promised.
  func mustReserve(
    _ state: Promise, given: Timestamp, present: Timestamp, now: UInt64
  ) -> Bool {
    let isShort =
      state.through.nanoseconds(since: present) < Self.reserveNanoseconds
      || present.nanoseconds(since: given) > Self.lagNanoseconds
    return isShort && now &- lastChange >= Self.retryPeriodNanoseconds
  }

  /// At a following group: whether it is time that the state file names what is known.
  func mustNote(_ state: Promise, now: UInt64) -> Bool {
    known > state.through && now &- lastChange >= Self.changePeriodNanoseconds
  }

  /// The same, when somebody has asked for the instants that there are.
  func mustNoteWhenAsked(_ state: Promise) -> Bool {
    known.nanoseconds(since: state.through) > Self.askedPeriodNanoseconds
  }

  // MARK: What the owner promises

  /// - Parameter last: the last record that has come.
  mutating func heard(_ through: Timestamp, after last: SequenceNumber, durable: SequenceNumber) {
    // The first one, until it is settled: under load there is always a next.
    if heard == nil { heard = (through, last) }
    settle(durable: durable)
  }

  mutating func settle(durable: SequenceNumber) {
    guard let heard, durable >= heard.after else { return }
    learn(heard.through)
    self.heard = nil
  }

  mutating func learn(_ through: Timestamp) { known = max(known, through) }

  /// The journal is about to be set back, or was, to what is promised up to `through`.
  mutating func restart(_ through: Timestamp) {
    heard = nil
    known = through
  }

  // MARK: Opening

  /// - Parameters:
  ///   - promised: what nothing that comes will lie before: at an owner, what it has given; at a
  ///     following group, what the state file names.
  func securing(
    _ instant: Timestamp, at duty: Duty, promised: Timestamp, durableTimestamp: Timestamp,
    isDurable: Bool
  ) -> Securing {
    if !isDurable, instant > durableTimestamp { return .sync }
    if instant <= max(promised, durableTimestamp) { return .done }
    return duty == .owning ? .reservation : .note
  }

  mutating func wait(through sequence: SequenceNumber, _ action: @escaping () -> Void) {
    waits.append((sequence, action))
  }

  var hasWaits: Bool { !waits.isEmpty }

  /// Those that can go on, or must give up.
  mutating func takeReady(durable: SequenceNumber, isOver: Bool) -> [() -> Void] {
    let ready = waits.filter { isOver || $0.through <= durable }
    waits.removeAll { isOver || $0.through <= durable }
    return ready.map(\.action)
  }
}
