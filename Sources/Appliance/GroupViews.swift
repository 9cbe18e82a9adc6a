import BlockModel
import Configuration
import Journal
import Storage
import SystemIO
import Volume

/// The instants that are held open. Confined to the group's loop.
struct OpenViews {
  struct Hold {
    let instant: Timestamp
    /// Nil where only what follows the instant is to stay in the journal.
    let plan: ViewPlan<SiteSegmentFile>?
    /// Nil while a worker opens it.
    var view: SiteView?
    /// Where apply saves for the view; nil while it holds apply back instead.
    var overlay: SiteOverlay?
    /// What it should have saved is gone; its clients were, or will at once be, cut off.
    var isLost = false
    /// Cuts the connections off that use it.
    var expire: (() -> Void)?

    /// A worker still scans the journal for it.
    var isOpening: Bool { plan != nil && view == nil }
  }

  private(set) var holds: [UInt64: Hold] = [:]
  private var nextIdentifier: UInt64 = 1

  var count: Int { holds.count }
  /// Apply may not go past it; nil when no view holds it back.
  var oldestInstant: Timestamp? {
    holds.values.lazy.filter { $0.overlay == nil }.map(\.instant).min()
  }

  mutating func add(_ plan: ViewPlan<SiteSegmentFile>) -> UInt64 {
    add(Hold(instant: plan.instant, plan: plan))
  }

  mutating func hold(_ instant: Timestamp) -> UInt64 {
    add(Hold(instant: instant, plan: nil))
  }

  private mutating func add(_ hold: Hold) -> UInt64 {
    let identifier = nextIdentifier
    nextIdentifier += 1
    holds[identifier] = hold
    return identifier
  }

  mutating func setView(_ identifier: UInt64, _ view: SiteView) {
    holds[identifier]?.view = view
  }

  mutating func setExpiry(_ identifier: UInt64, _ expire: @escaping () -> Void) {
    holds[identifier]?.expire = expire
    if holds[identifier]?.isLost == true { expire() }
  }

  mutating func remove(_ identifier: UInt64) {
    guard let hold = holds.removeValue(forKey: identifier), hold.overlay == nil else { return }
    hold.plan?.release()
  }

  /// Cuts everybody off, also those that are still being opened.
  mutating func expireAll() {
    for (identifier, hold) in holds {
      holds[identifier]?.isLost = true
      hold.expire?()
    }
  }

  // MARK: Detached from the journal's room

  /// Cuts off the clients that want to know what follows the instant. False when there are none, or
  /// they were told already.
  mutating func expireChanges(since instant: Timestamp) -> Bool {
    var any = false
    for (identifier, hold) in holds where hold.plan == nil && hold.instant == instant {
      if hold.isLost { continue }
      holds[identifier]?.isLost = true
      hold.expire?()
      any = true
    }
    return any
  }

  func attached(at instant: Timestamp) -> [Hold] {
    holds.values.filter { $0.overlay == nil && $0.instant == instant }
  }

  /// The views at this instant hold neither apply nor segments any more.
  mutating func detach(at instant: Timestamp, _ overlay: SiteOverlay) {
    for (identifier, hold) in holds where hold.overlay == nil && hold.instant == instant {
      guard let plan = hold.plan else { continue }
      plan.release()
      holds[identifier]?.overlay = overlay
    }
  }

  /// One of the views of each overlay, the newest instant first.
  var savers: [SiteView] {
    var savers: [(overlay: SiteOverlay, view: SiteView)] = []
    for (_, hold) in holds.sorted(by: { $0.key < $1.key }) where !hold.isLost {
      guard let overlay = hold.overlay, let view = hold.view else { continue }
      if !savers.contains(where: { $0.overlay === overlay }) { savers.append((overlay, view)) }
    }
    return savers.map(\.view).sorted { $0.instant > $1.instant }
  }

  /// Cuts off the views whose overlays were given up since the last time; the reason by instant.
  mutating func takeLost() -> [Timestamp: VolumeError] {
    var reasons: [Timestamp: VolumeError] = [:]
    for (identifier, hold) in holds where !hold.isLost {
      guard let reason = hold.overlay?.failure else { continue }
      reasons[hold.instant] = reason
      holds[identifier]?.isLost = true
      hold.expire?()
    }
    return reasons
  }
}

/// A view that a worker has made ready, and the hold it has on its group.
struct OpenedView: Sendable {
  let view: SiteView
  let group: Group
  let identifier: UInt64

  /// Any thread. What is still being read then may be wrong, or an error.
  func release() {
    group.loop.post { [group, identifier] in
      group.views.remove(identifier)
      group.recycle()
    }
  }

  /// Any thread. `expire` is called on the group's loop when the view cannot be kept.
  func onExpiry(_ expire: @escaping @Sendable () -> Void) {
    group.loop.post { [group, identifier] in group.views.setExpiry(identifier, expire) }
  }
}

extension Group {
  /// The instants that can be opened now. On the loop.
  var history: History? {
    guard let journal else { return nil }
    return history(
      until: configuration.role == .recovery ? journal.floor : max(journal.floor, readClock()))
  }

  /// The instants of which others are told: what stands behind them is durable, so that they can be
  /// opened also after a restart. On the loop.
  var offeredHistory: History? {
    guard let journal, let state = stateKeeper?.state else { return nil }
    noteAsked()
    let promised = configuration.role == .recovery ? state.promise.through : journal.promised
    return history(
      until: max(promised, Timestamp(rawValue: journal.watermarks[.durableTimestamp])))
  }

  private func history(until end: Timestamp) -> History? {
    guard let journal, let state = stateKeeper?.state else { return nil }
    var start = max(state.applyTarget.timestamp, max(state.historyStart, apply.target))
    var end = end
    if state.baseline != .complete || receiving.closesViews {
      start = .distantFuture
    } else {
      // The newest record may be earlier than what was promised before a clock was set back.
      end = max(end, start)
    }
    return History(
      start: start, end: end, generations: journal.generations,
      activeSpan: journal.activeSpan, activeCheckpoints: journal.activeCheckpoints,
      gaps: state.gaps)
  }

  /// Opens the group at an instant. `completion` is called on a worker or on the loop.
  func openView(
    _ expression: InstantExpression,
    completion: @escaping @Sendable (Result<OpenedView, ExportRefusal>) -> Void
  ) {
    guard let history, !isStopping else {
      return completion(.failure(.unavailable("group \(configuration.name) keeps no history")))
    }
    guard commit() else { return completion(.failure(.unavailable("group has failed"))) }
    let instant: Timestamp
    do throws(History.Refusal) {
      instant = try history.instant(of: expression, now: present)
    } catch { return completion(.failure(.outside("\(error)"))) }
    secure(instant) { [self] problem in
      if let problem {
        return completion(.failure(.unavailable("group \(configuration.name): \(problem)")))
      }
      openSecured(instant, completion)
    }
  }

  private func openSecured(
    _ instant: Timestamp,
    _ completion: @escaping @Sendable (Result<OpenedView, ExportRefusal>) -> Void
  ) {
    guard let journal, let history, !isStopping, commit() else {
      return completion(.failure(.unavailable("group \(configuration.name) keeps no history")))
    }
    // Apply may have gone on meanwhile.
    do throws(History.Refusal) {
      _ = try history.instant(of: .at(instant), now: instant)
    } catch { return completion(.failure(.outside("\(error)"))) }
    let applied = journal.applied
    let plan = ViewPlan(
      instant: instant, generations: journal.maps(notLaterThan: instant),
      segments: journal.segments(after: applied, through: journal.stamped),
      diskCount: disks.count)
    let identifier = views.add(plan)
    let stores = disks.map(\.store)
    let catalog = journal.catalog
    lanes.views.submit { [self] in
      do throws(VolumeError) {
        let view = try View(plan, applied: applied, stores: stores, catalog: catalog)
        loop.post { [self] in views.setView(identifier, view) }
        completion(.success(OpenedView(view: view, group: self, identifier: identifier)))
      } catch {
        loop.post { [self] in views.remove(identifier) }
        completion(.failure(.unavailable("\(error)")))
      }
    }
  }
}

/// Why an export cannot be opened, for the client.
enum ExportRefusal: Error, Sendable {
  case unknown(String)
  case outside(String)
  case unavailable(String)

  var message: String {
    switch self {
    case .unknown(let text), .outside(let text), .unavailable(let text): text
    }
  }
}
