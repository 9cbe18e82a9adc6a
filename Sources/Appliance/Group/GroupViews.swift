import BlockModel
import Configuration
import Journal
import Storage
import SystemIO
import Volume

/// A client's share in a view that is ready, and in the hold that it has on its group.
struct OpenedView: Sendable {
  let view: SiteView
  let group: Group
  /// Those that the instant shows.
  let disks: [GroupDisk]
  let use: OpenViews.Use

  func disk(named name: String) -> GroupDisk? { disks.first { $0.name == name } }

  /// Any thread, once. What is still being read then may be wrong, or an error.
  func release() {
    group.loop.post { [group, use] in
      // A reader may know that it is lost before the step of apply has ended that would say so.
      group.closeLostViews()
      group.views.remove(use)
      group.recycle()
      group.closeGoneDisks()
    }
  }

  /// Any thread. `expire` is called on the group's loop when the view cannot be kept.
  func onExpiry(_ expire: @escaping @Sendable () -> Void) {
    group.loop.post { [group, use] in group.views.setExpiry(use, expire) }
  }
}

extension Group {
  /// The instants that can be opened now. On the loop.
  var history: History? {
    guard let journal else { return nil }
    return history(
      until: duty == .following ? journal.floor : max(journal.floor, readClock()))
  }

  /// The instants of which others are told: what stands behind them is durable, so that they can be
  /// opened also after a restart. On the loop.
  var offeredHistory: History? {
    guard let journal, let state = stateKeeper?.state else { return nil }
    let promised = duty == .following ? state.promise.through : journal.promised
    return history(
      until: max(promised, Timestamp(rawValue: journal.watermarks[.durableTimestamp])))
  }

  /// `offeredHistory`, for somebody who asks.
  func answerHistory() -> History? {
    noteAsked()
    return offeredHistory
  }

  private func history(until end: Timestamp) -> History? {
    guard let journal, let state = stateKeeper?.state else { return nil }
    var start = max(state.applyTarget.timestamp, max(state.historyStart, apply.target))
    var end = end
    // A gap may end later than the owner's clock has come to.
    if state.baseline != .complete || closesViews || state.historyStart > end {
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

  /// Which instant is meant, if it can be opened. Makes nothing, and takes on the loop no time that
  /// grows with the history: a tag is looked for by a worker. `completion` is called on the loop.
  func findInstant(
    _ expression: InstantExpression,
    completion: @escaping @Sendable (Result<Timestamp, ExportRefusal>) -> Void
  ) {
    guard journal != nil, let history, !isStopping else {
      return completion(.failure(.unavailable("group \(configuration.name) keeps no history")))
    }
    guard case .checkpoint = expression else {
      return completion(history.find(expression, now: present))
    }
    let now = present
    lanes.views.submit { [self] in
      let found = history.find(expression, now: now)
      loop.post { completion(found) }
    }
  }

  /// As `findInstant`, for several: nil for what cannot be opened.
  func findInstants(
    _ expressions: [InstantExpression],
    completion: @escaping @Sendable ([Timestamp?]) -> Void
  ) {
    guard let history else { return completion(expressions.map { _ in nil }) }
    let now = present
    let find: @Sendable () -> [Timestamp?] = {
      expressions.map { try? history.find($0, now: now).get() }
    }
    let hasTags = expressions.contains { if case .checkpoint = $0 { true } else { false } }
    guard hasTags else { return completion(find()) }
    lanes.views.submit { [self] in
      let found = find()
      loop.post { completion(found) }
    }
  }

  /// Opens the group at an instant, or gives a share in the view that others have of it. On the
  /// loop, as `completion`.
  func openView(
    _ expression: InstantExpression,
    completion: @escaping @Sendable (Result<OpenedView, ExportRefusal>) -> Void
  ) {
    findInstant(expression) { [self] result in
      switch result {
      case .failure(let refusal): completion(.failure(refusal))
      case .success(let instant):
        guard commit() else { return completion(.failure(.unavailable("group has failed"))) }
        secure(instant) { [self] problem in
          // All this took a while.
          guard let problem else { return openView(at: instant, completion) }
          completion(.failure(.unavailable("group \(configuration.name): \(problem)")))
        }
      }
    }
  }

  private func openView(
    at instant: Timestamp,
    _ completion: @escaping @Sendable (Result<OpenedView, ExportRefusal>) -> Void
  ) {
    planView(at: instant, isShared: true) { [self] result in
      completion(
        result.map { view, use in
          OpenedView(view: view, group: self, disks: disks(of: view), use: use)
        })
    }
  }

  /// Whoever is given the view may use it while he holds his share. `completion` is called on the
  /// loop.
  ///
  /// - Parameter isShared: others who ask for the instant get a share in the same hold.
  func planView(
    at instant: Timestamp, isShared: Bool,
    _ completion: @escaping (Result<(SiteView, OpenViews.Use), ExportRefusal>) -> Void
  ) {
    guard let journal, let history, !isStopping else {
      return completion(.failure(.unavailable("group \(configuration.name) keeps no history")))
    }
    guard commit() else { return completion(.failure(.unavailable("group has failed"))) }
    if case .failure(let refusal) = history.find(.at(instant), now: instant) {
      return completion(.failure(refusal))
    }
    let told: OpenViews.Waiter = { result, use in completion(result.map { ($0, use) }) }
    if isShared, let tell = views.join(instant, told) { return tell() }
    let plan = journal.viewPlan(at: instant)
    if isShared {
      views.add(plan, applied: journal.applied, told)
    } else {
      views.add(unshared: plan, applied: journal.applied, told)
    }
    openNextView()
  }

  func notShown(_ disk: GroupDisk, at instant: Timestamp) -> ExportRefusal {
    .outside(
      "disk \(disk.name) was not in group \(configuration.name) at \(instant), or not all of it "
        + "was in the history yet")
  }

  func openNextView() {
    guard let journal, let (identifier, plan, applied) = views.nextToOpen() else { return }
    let stores = stores(at: plan.instant)
    let catalog = journal.catalog
    lanes.views.submit { [self] in
      var result: Result<SiteView, ExportRefusal>
      do throws(VolumeError) {
        result = .success(try View(plan, applied: applied, stores: stores, catalog: catalog))
      } catch { result = .failure(.unavailable("\(error)")) }
      let opened = result
      loop.post { [self] in
        let tell = views.opened(identifier, opened)
        openNextView()
        tell()
      }
    }
  }
}

extension History {
  fileprivate func find(
    _ expression: InstantExpression, now: Timestamp
  ) -> Result<Timestamp, ExportRefusal> {
    do throws(Refusal) { return .success(try instant(of: expression, now: now)) } catch {
      return .failure(.outside("\(error)"))
    }
  }
}

/// Why an export cannot be opened, for the client.
enum ExportRefusal: Error, Equatable, Sendable {
  case unknown(String)
  case outside(String)
  case unavailable(String)
  case notPermitted(String)
  /// It is there, and the client is told that it is not.
  case hidden(String, remark: String)

  var message: String {
    switch self {
    case .unknown(let text), .outside(let text), .unavailable(let text), .notPermitted(let text),
      .hidden(let text, _):
      text
    }
  }

  /// What the site's log says beside it.
  var remark: String? { if case .hidden(_, let remark) = self { remark } else { nil } }
}
