import BlockModel
import Configuration
import Journal
import Storage
import SystemIO
import Volume

/// The instants that are held open. Clients that ask for the same instant share one view: it is
/// made once, and goes with the last of them. Confined to the group's loop.
struct OpenViews {
  /// One client's share in a hold.
  struct Use: Hashable, Sendable {
    fileprivate let hold: UInt64
    fileprivate let user: UInt64
  }

  typealias Waiter = (Result<SiteView, ExportRefusal>, Use) -> Void
  /// Called when these views are changed no more: who is told may use them at once.
  typealias Telling = () -> Void

  struct Hold {
    let instant: Timestamp
    /// Nil where only what follows the instant is to stay in the journal.
    let plan: ViewPlan<SiteSegmentFile>?
    /// Records up to here were in the bases when the plan was made.
    let applied: SequenceNumber
    /// Nil while it is opened.
    var view: SiteView?
    /// Where apply saves for the view; nil while it holds apply back instead.
    var overlay: SiteOverlay?
    /// What is built on it; nil: clients look at it.
    fileprivate(set) var branch: Branch?
    /// What it should have saved is gone; its clients were, or will at once be, cut off.
    var isLost = false
    /// What cuts each user's connection off, once that is known.
    fileprivate var users: [UInt64: (() -> Void)?] = [:]
    /// Those who are to get the view when it is open.
    fileprivate var waiters: [(user: UInt64, action: Waiter)] = []

    /// Of a branch: it could not be opened.
    fileprivate(set) var hasFailed = false

    /// A worker still scans the journal for it, or will; or that has failed.
    var isOpening: Bool { plan != nil && view == nil }

    fileprivate func expire() { for case .some(let expire) in users.values { expire() } }
  }

  private(set) var holds: [UInt64: Hold] = [:]
  /// The hold that those share who ask for its instant.
  private var shared: [Timestamp: UInt64] = [:]
  /// Those to be opened, one after the other: views are for readers, and must not take the workers
  /// from the guests.
  private var toOpen: [UInt64] = []
  private var isOpening = false
  private var nextIdentifier: UInt64 = 1

  /// Of users; branches are counted elsewhere.
  var count: Int {
    holds.values.reduce(0) { $0 + ($1.branch == nil ? $1.users.count : 0) }
  }
  var isEmpty: Bool { holds.isEmpty }
  /// Apply may not go past it; nil when no view holds it back.
  var oldestInstant: Timestamp? {
    holds.values.lazy.filter { $0.overlay == nil }.map(\.instant).min()
  }

  // MARK: Using

  /// Gives the caller a share in a hold that others have on the same instant; nil when there is
  /// none. The result, which the caller calls now, tells `action` of a view that is open; else
  /// `opened` does.
  mutating func join(_ instant: Timestamp, _ action: @escaping Waiter) -> Telling? {
    guard let identifier = shared[instant], let hold = holds[identifier], !hold.isLost,
      hold.overlay?.failure == nil
    else { return nil }
    let use = addUser(to: identifier)
    if let view = hold.view { return { action(.success(view), use) } }
    holds[identifier]?.waiters.append((use.user, action))
    return {}
  }

  /// A hold that others can join. `action` is called when the view is open.
  mutating func add(
    _ plan: ViewPlan<SiteSegmentFile>, applied: SequenceNumber, _ action: @escaping Waiter
  ) {
    let use = add(Hold(instant: plan.instant, plan: plan, applied: applied))
    shared[plan.instant] = use.hold
    holds[use.hold]?.waiters.append((use.user, action))
    toOpen.append(use.hold)
  }

  /// A hold that nobody else joins. `action` is called when the view is open.
  mutating func add(
    unshared plan: ViewPlan<SiteSegmentFile>, applied: SequenceNumber, _ action: @escaping Waiter
  ) {
    let use = add(Hold(instant: plan.instant, plan: plan, applied: applied))
    holds[use.hold]?.waiters.append((use.user, action))
    toOpen.append(use.hold)
  }

  mutating func hold(_ instant: Timestamp) -> Use {
    add(Hold(instant: instant, plan: nil, applied: .none))
  }

  private mutating func add(_ hold: Hold) -> Use {
    let identifier = takeIdentifier()
    holds[identifier] = hold
    return addUser(to: identifier)
  }

  private mutating func addUser(to hold: UInt64) -> Use {
    let user = takeIdentifier()
    holds[hold]?.users.updateValue(nil, forKey: user)
    return Use(hold: hold, user: user)
  }

  private mutating func takeIdentifier() -> UInt64 {
    defer { nextIdentifier += 1 }
    return nextIdentifier
  }

  mutating func setExpiry(_ use: Use, _ expire: @escaping () -> Void) {
    guard holds[use.hold]?.users.keys.contains(use.user) == true else { return }
    holds[use.hold]?.users.updateValue(expire, forKey: use.user)
    if holds[use.hold]?.isLost == true { expire() }
  }

  /// The hold goes with its last user.
  mutating func remove(_ use: Use) {
    guard holds[use.hold]?.users.removeValue(forKey: use.user) != nil,
      holds[use.hold]?.users.isEmpty == true
    else { return }
    drop(use.hold)
  }

  private mutating func drop(_ identifier: UInt64) {
    guard let hold = holds.removeValue(forKey: identifier) else { return }
    if shared[hold.instant] == identifier { shared[hold.instant] = nil }
    if hold.overlay == nil { hold.plan?.release() }
  }

  /// Cuts everybody off, also those that are still being opened.
  mutating func expireAll() {
    for (identifier, hold) in holds {
      holds[identifier]?.isLost = true
      hold.expire()
    }
  }

  // MARK: Of branches

  /// The hold of a branch, which stays until it is removed, whether the view can be opened or not.
  mutating func add(
    _ branch: Branch, _ plan: ViewPlan<SiteSegmentFile>, applied: SequenceNumber
  ) -> Use {
    var hold = Hold(instant: plan.instant, plan: plan, applied: applied)
    hold.branch = branch
    return add(hold)
  }

  mutating func failed(_ use: Use) { holds[use.hold]?.hasFailed = true }

  func hasFailed(_ use: Use) -> Bool { holds[use.hold]?.hasFailed ?? false }

  /// `action` is called when that has come to an end.
  mutating func openAgain(_ use: Use, _ action: @escaping Waiter) {
    holds[use.hold]?.hasFailed = false
    holds[use.hold]?.waiters.append((use.user, action))
    toOpen.append(use.hold)
  }

  /// A branch was made of it.
  mutating func give(_ use: Use, to branch: Branch) { holds[use.hold]?.branch = branch }

  mutating func setView(_ use: Use, _ view: SiteView) { holds[use.hold]?.view = view }

  /// It is there, nothing has cut its user off, and it holds apply back.
  func isWhole(_ use: Use) -> Bool {
    holds[use.hold].map { !$0.isLost && $0.overlay == nil } ?? false
  }

  /// It holds neither apply nor segments any more.
  mutating func detach(_ use: Use, _ overlay: SiteOverlay) {
    guard let hold = holds[use.hold], hold.overlay == nil else { return }
    hold.plan?.release()
    holds[use.hold]?.overlay = overlay
  }

  // MARK: Opening

  /// What is to be opened next; nil while one is being opened, or when there is nothing.
  mutating func nextToOpen() -> (
    identifier: UInt64, plan: ViewPlan<SiteSegmentFile>, applied: SequenceNumber
  )? {
    while !isOpening, !toOpen.isEmpty {
      let identifier = toOpen.removeFirst()
      guard let hold = holds[identifier], let plan = hold.plan else { continue }
      isOpening = true
      return (identifier, plan, hold.applied)
    }
    return nil
  }

  /// What tells all who wait for it; the caller calls it now.
  mutating func opened(
    _ identifier: UInt64, _ result: Result<SiteView, ExportRefusal>
  ) -> Telling {
    isOpening = false
    let waiters = holds[identifier]?.waiters ?? []
    holds[identifier]?.waiters = []
    if case .success(let view) = result {
      holds[identifier]?.view = view
    } else if holds[identifier]?.branch != nil {
      holds[identifier]?.hasFailed = true
    } else {
      drop(identifier)
    }
    return { for (user, action) in waiters { action(result, Use(hold: identifier, user: user)) } }
  }

  /// Nobody opens those any more that are still to be opened. What tells all who wait for them; the
  /// caller calls it now.
  mutating func refuseQueued(_ refusal: ExportRefusal) -> Telling {
    let (queued, wasOpening) = (toOpen, isOpening)
    toOpen = []
    let tellings = queued.map { opened($0, .failure(refusal)) }
    isOpening = wasOpening
    return { for tell in tellings { tell() } }
  }

  // MARK: Detached from the journal's room

  /// Cuts off the clients that want to know what follows the instant. False when there are none, or
  /// they were told already.
  mutating func expireChanges(since instant: Timestamp) -> Bool {
    var any = false
    for (identifier, hold) in holds where hold.plan == nil && hold.instant == instant {
      if hold.isLost { continue }
      holds[identifier]?.isLost = true
      hold.expire()
      any = true
    }
    return any
  }

  func attached(at instant: Timestamp) -> [Hold] {
    holds.values.filter { $0.overlay == nil && $0.instant == instant }
  }

  /// The views at this instant hold neither apply nor segments any more.
  ///
  /// - Parameter overlay: for all but branches, which have their own.
  mutating func detach(at instant: Timestamp, _ overlay: SiteOverlay) {
    for (identifier, hold) in holds where hold.overlay == nil && hold.instant == instant {
      guard let plan = hold.plan else { continue }
      plan.release()
      holds[identifier]?.overlay = hold.branch?.saved ?? overlay
    }
  }

  /// One of the views of each overlay, the newest instant first.
  var savers: [SiteView] {
    var savers: [(overlay: SiteOverlay, view: SiteView)] = []
    for (_, hold) in holds.sorted(by: { $0.key < $1.key }) {
      guard let overlay = hold.overlay, let view = hold.view,
        !hold.isLost || overlay.mustNoteLoss
      else { continue }
      if !savers.contains(where: { $0.overlay === overlay }) { savers.append((overlay, view)) }
    }
    return savers.map(\.view).sorted { $0.instant > $1.instant }
  }

  /// Cuts off the views whose overlays were given up since the last time; the reason by instant.
  /// Branches, which are cut off, too, say it themselves.
  mutating func takeLost() -> [Timestamp: VolumeError] {
    var reasons: [Timestamp: VolumeError] = [:]
    for (identifier, hold) in holds where !hold.isLost {
      guard let reason = hold.overlay?.failure else { continue }
      if hold.branch == nil { reasons[hold.instant] = reason }
      holds[identifier]?.isLost = true
      hold.expire()
    }
    return reasons
  }
}
