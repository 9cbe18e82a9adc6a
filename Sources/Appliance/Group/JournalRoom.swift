import Journal

/// What a group knows of the room in its journal, as a value: whether files can be had, whether
/// room is being made ahead of need, how long there has been none, and what a throttled guest may
/// write. Times are monotonic nanoseconds.
struct JournalRoom: Equatable, Sendable {
  /// Why the last attempt to create a segment file failed, if it did: the journal makes do with
  /// what it has.
  private(set) var fileFailure: String?
  private var fileRetry: UInt64 = 0
  /// Room is being made ahead of need.
  private(set) var isRefilling = false
  /// Segments that the journal had opened when the reserve was last looked at.
  private var openedAtLook: UInt64 = 0
  /// Since when there has been none; 0 while there is some.
  private var fullSince: UInt64 = 0
  /// Bytes that guests may still write until the next tick; not limited mostly.
  private(set) var allowance = Int.max

  private static var fileRetryNanoseconds: UInt64 { 1_000_000_000 }
  /// A peer that takes what it gets is not copied anew because the guest was quicker for a moment:
  /// it has that long to make room. So has one of which nothing is known yet: a site that starts
  /// with a full journal has asked nobody.
  private static var patienceNanoseconds: UInt64 { 1_000_000_000 }

  // MARK: Files

  func mayCreateFile(now: UInt64) -> Bool { now >= fileRetry }

  /// One was created, or none is needed any more.
  mutating func filesSuffice() { fileFailure = nil }

  mutating func fileFailed(_ problem: String, now: UInt64) {
    fileFailure = problem
    fileRetry = now + Self.fileRetryNanoseconds
  }

  // MARK: Ahead of need

  /// - Parameter opened: so many segments the journal has opened.
  func mustLook(opened: UInt64) -> Bool { opened != openedAtLook }

  /// Of how many segments the next step of apply makes room; nil when enough are free.
  mutating func segmentsToFree(free: Int, _ reserve: SegmentReserve, opened: UInt64) -> Int? {
    openedAtLook = opened
    let wanted = reserve.segmentsToFree(free: free, isRefilling: isRefilling)
    isRefilling = wanted != nil
    return wanted
  }

  /// When the turn ends, whatever is opened until then.
  mutating func looksAgain() { openedAtLook = .max }

  // MARK: Full

  mutating func came() { fullSince = 0 }

  /// Whether there has been none for so long that a peer that takes what it gets may be dropped.
  mutating func hasLackedLong(now: UInt64) -> Bool {
    if fullSince == 0 { fullSince = now }
    return now &- fullSince >= Self.patienceNanoseconds
  }

  // MARK: Throttled guests

  /// A tick allows a share of what is left once that is less than a quarter, so writes slow down
  /// instead of stopping.
  ///
  /// - Parameters:
  ///   - left: bytes of the capacity that no throttling follower lacks.
  ///   - least: what one request may have.
  mutating func allow(left: Int, of capacity: Int, least: Int) {
    allowance = left < capacity / 4 ? max(least, left / 32) : .max
  }

  @inline(__always)
  mutating func spend(_ byteCount: Int) { if allowance != .max { allowance &-= byteCount } }
}

/// The search for room in a full journal: what is tried, one after the other, until there is some
/// or some is coming.
struct RoomSearch: Equatable, Sendable {
  enum Step: CaseIterable, Sendable {
    case createFile
    /// What nobody needs any more comes free, and what apply has in hand goes on.
    case free
    case apply
    /// Readers give way, and live on in scratch space, before a peer loses its records or guests
    /// wait.
    case detachViews
    case applyBehindViews
    case dropFollower
  }

  struct Facts: Equatable, Sendable {
    /// A segment's file is being created, or can be.
    var fileIsComing = false
    /// What waited for room has it.
    var hasRoom = false
    /// Segments come free as soon as the state file is written.
    var comesFree = false
    /// Views hold apply back, or what is applied.
    var viewsHold = false
    /// What was tried last wrote what was staged, and could not: there is no journal to make room
    /// in.
    var hasFailed = false
  }

  private var last: Step?

  mutating func next(_ facts: Facts) -> Step? {
    if facts.hasFailed { return nil }
    switch last {
    case nil: last = .createFile
    // While there is capacity left, history is not cut short.
    case .createFile where facts.fileIsComing: return nil
    case .createFile: last = .free
    // Nor for what comes anyway.
    case .free where facts.hasRoom || facts.comesFree: return nil
    case .free: last = .apply
    case .apply: last = facts.viewsHold ? .detachViews : .dropFollower
    case .detachViews: last = .applyBehindViews
    case .applyBehindViews, .dropFollower: return nil
    }
    return last
  }
}
