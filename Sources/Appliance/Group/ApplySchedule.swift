import BlockModel
import Journal

/// When a group's journal is applied to its disks, as a value: it is told what happens, and says
/// what is due. Times are monotonic nanoseconds, but for *history*: what the history window is
/// measured from.
struct ApplySchedule: Equatable, Sendable {
  struct Policy: Equatable, Sendable {
    /// Least time between two steps.
    var periodNanoseconds: UInt64
    /// Records stay in the journal for so long.
    var windowNanoseconds: UInt64
    var capacityByteCount: Int
  }

  struct Failure: Equatable, Sendable {
    let text: String
    /// It was damage to the journal.
    let isDamage: Bool
  }

  /// What becomes of the active generation, of which apply takes nothing.
  enum Closing: Equatable, Sendable {
    case staysOpen
    /// When a sync has made it durable.
    case later
    case now
  }

  let policy: Policy
  /// Timestamp of the last record of the step under way: no view may be opened before it.
  private(set) var target = Timestamp.zero
  /// What went wrong last; nil when the last step went well.
  private(set) var failure: Failure?
  private var lastStart: UInt64 = 0
  private var lastClosing: UInt64 = 0
  private var lastGrowth: UInt64 = 0
  private var retry: UInt64 = 0
  /// What the journal had taken when that was last looked at, and when the last step began.
  private var byteCount: UInt64 = 0
  private var byteCountAtStart: UInt64 = 0
  /// That zeros became holes for want of space is said.
  private var saysThinned = false

  /// Bounds the memory of a step, and its length.
  private static var generationLimit: Int { 8 }
  private static var idleNanoseconds: UInt64 { 200_000_000 }
  private static var longestWaitNanoseconds: UInt64 { 10_000_000_000 }
  private static var retryNanoseconds: UInt64 { 1_000_000_000 }
  /// The parts of the window for which there are generations of their own, at most.
  private static var windowParts: UInt64 { 64 }

  init(_ policy: Policy) { self.policy = policy }

  // MARK: When

  /// - Parameter byteCount: what the journal has taken so far.
  mutating func look(byteCount: UInt64, now: UInt64) {
    if byteCount == self.byteCount { return }
    self.byteCount = byteCount
    lastGrowth = now
  }

  /// Nothing was written for a moment.
  func isIdle(now: UInt64) -> Bool { now &- lastGrowth > Self.idleNanoseconds }

  /// Under load, apply waits for a quiet moment: the guest gets the disk, and more overwrites
  /// become one write. It waits for ten seconds or an eighth of the capacity at most.
  func isDue(now: UInt64) -> Bool {
    let elapsed = now &- lastStart
    guard elapsed >= policy.periodNanoseconds else { return false }
    return isIdle(now: now) || elapsed >= Self.longestWaitNanoseconds
      || byteCount - byteCountAtStart >= UInt64(policy.capacityByteCount / 8)
  }

  /// After a failure only in a while.
  func mayTry(now: UInt64) -> Bool { now >= retry }

  // MARK: What

  /// The active generation is closed when its first record is due, but not so often that small
  /// generations pile up in a long window.
  func closing(
    of active: RecordSpan?, durable: SequenceNumber, history: Timestamp, isPressed: Bool,
    now: UInt64
  ) -> Closing {
    guard let active else { return .staysOpen }
    if isPressed { return .now }
    if active.lastSequence > durable { return .later }
    let window = policy.windowNanoseconds
    let spacing = max(policy.periodNanoseconds, window / Self.windowParts)
    let isDue = history.nanoseconds(since: active.firstTimestamp) >= window
    return isDue && now &- lastClosing >= spacing ? .now : .staysOpen
  }

  mutating func closed(now: UInt64) { lastClosing = now }

  /// How many of the closed generations, oldest first, one step takes.
  ///
  /// - Parameters:
  ///   - view: the oldest instant that is open and needs the journal.
  ///   - last: no record after it.
  ///   - isPressed: there must be room, whatever the window.
  func stepCount(
    _ spans: some Sequence<RecordSpan>, history: Timestamp, view: Timestamp?,
    through last: SequenceNumber, isPressed: Bool
  ) -> Int {
    var newest = view ?? .distantFuture
    if !isPressed {
      let window = min(policy.windowNanoseconds, history.rawValue)
      newest = min(newest, Timestamp(rawValue: history.rawValue - window))
    }
    var count = 0
    for span in spans.prefix(Self.generationLimit) {
      guard span.lastTimestamp <= newest, span.lastSequence <= last else { break }
      count += 1
    }
    return count
  }

  // MARK: What happens

  mutating func begins(through mark: JournalState.Mark, now: UInt64) {
    lastStart = now
    byteCountAtStart = byteCount
    target = max(target, mark.timestamp)
  }

  mutating func ended() { failure = nil }

  mutating func failed(_ failure: Failure, now: UInt64) {
    self.failure = failure
    retry = now + Self.retryNanoseconds
  }

  /// What failed before may go well now.
  mutating func triesAtOnce() {
    failure = nil
    retry = 0
  }

  /// The journal starts over.
  mutating func restarts() { target = .zero }

  /// Whether it is to be said that zeros became holes: once, until zeros find space again.
  mutating func thinned(_ thinnedByteCount: UInt64, zeroed zeroedByteCount: UInt64) -> Bool {
    if thinnedByteCount == 0 {
      if zeroedByteCount > 0 { saysThinned = false }
      return false
    }
    defer { saysThinned = true }
    return !saysThinned
  }
}
