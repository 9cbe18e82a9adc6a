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
    /// Cuts the view's connections off; called when the journal needs the space.
    var expire: () -> Void
  }

  private(set) var holds: [UInt64: Hold] = [:]
  private var nextIdentifier: UInt64 = 1

  var count: Int { holds.count }
  /// Apply may not go past it.
  var oldestInstant: Timestamp? { holds.values.map(\.instant).min() }

  mutating func add(_ plan: ViewPlan<SiteSegmentFile>) -> UInt64 {
    add(Hold(instant: plan.instant, plan: plan, expire: {}))
  }

  mutating func hold(_ instant: Timestamp) -> UInt64 {
    add(Hold(instant: instant, plan: nil, expire: {}))
  }

  private mutating func add(_ hold: Hold) -> UInt64 {
    let identifier = nextIdentifier
    nextIdentifier += 1
    holds[identifier] = hold
    return identifier
  }

  mutating func setExpiry(_ identifier: UInt64, _ expire: @escaping () -> Void) {
    holds[identifier]?.expire = expire
  }

  mutating func remove(_ identifier: UInt64) {
    holds.removeValue(forKey: identifier)?.plan?.release()
  }
}

/// A view that a worker has made ready, and the hold it has on its group.
struct OpenedView: Sendable {
  let view: SiteView
  let group: Group
  let identifier: UInt64

  /// Any thread. After the view is not read any more.
  func release() {
    group.loop.post { [group, identifier] in
      group.views.remove(identifier)
      group.recycle()
    }
  }

  /// Any thread. `expire` is called on the group's loop when the journal needs the space.
  func onExpiry(_ expire: @escaping @Sendable () -> Void) {
    group.loop.post { [group, identifier] in group.views.setExpiry(identifier, expire) }
  }
}

extension Group {
  /// The instants that exist now. On the loop.
  var history: History? {
    guard let journal, let state = stateKeeper?.state else { return nil }
    var start = max(state.applyTarget.timestamp, max(state.historyStart, apply.target))
    let end: Timestamp
    if configuration.role == .recovery {
      end = max(journal.newestTimestamp, receiving.knownThrough)
      if state.baseline != .complete { start = .distantFuture }
    } else {
      end = max(journal.newestTimestamp, loop.now)
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
    guard let journal, let history, failure == nil, !isStopping else {
      return completion(.failure(.unavailable("group \(configuration.name) keeps no history")))
    }
    guard commit() else { return completion(.failure(.unavailable("group has failed"))) }
    let instant: Timestamp
    do throws(History.Refusal) {
      instant = try history.instant(of: expression, now: loop.now)
    } catch { return completion(.failure(.outside("\(error)"))) }
    if configuration.role == .protected {
      // A write that follows in this turn must not get a timestamp that the view counts in.
      do throws(JournalError) { try journal.closeInstants(through: instant) } catch {
        fail("\(error)")
        return completion(.failure(.unavailable("group has failed")))
      }
    }
    let applied = journal.applied
    let plan = ViewPlan(
      instant: instant, generations: journal.generations,
      segments: journal.segments(after: applied, through: journal.stamped),
      diskCount: disks.count)
    let identifier = views.add(plan)
    let stores = disks.map(\.store)
    let catalog = journal.catalog
    workers.submit { [self] in
      do throws(VolumeError) {
        let view = try View(plan, applied: applied, stores: stores, catalog: catalog)
        completion(.success(OpenedView(view: view, group: self, identifier: identifier)))
      } catch {
        loop.post { [self] in views.remove(identifier) }
        completion(.failure(.unavailable("\(error)")))
      }
    }
  }

  /// The journal is full and the oldest view holds apply back: the view gives way, because the
  /// guest must not wait for a reader. False when there is none.
  func expireOldestView() -> Bool {
    let oldest = views.holds.min { $0.value.instant < $1.value.instant }
    guard let (_, hold) = oldest else { return false }
    log(
      "group \(configuration.name): the view at \(hold.instant) is closed: the journal is full "
        + "and cannot keep that instant any longer")
    hold.expire()
    return true
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
