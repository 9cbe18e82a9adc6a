import BlockModel
import Configuration
import Journal
import Storage
import SystemIO
import Volume

/// What the contexts `tapline:changed-since:INSTANT` of one connection stand on.
///
/// For a disk as it was at an instant: the view itself, and what changed up to it. For the disk as
/// it is: what changed up to a border where generations were closed, and a hold on the instant of
/// that border, so that everything later stays known.
struct OpenedChanges: Sendable {
  enum Base: Sendable {
    case view(OpenedView)
    case live(Border)
  }

  /// A place in the group's order where a generation was closed and behind which nothing is
  /// applied.
  struct Border: Sendable {
    let group: Group
    let sequence: SequenceNumber
    let hold: OpenViews.Use
  }

  /// For each instant that was asked for; nil when it is outside of the history.
  let changes: [ChangedBlocks?]
  let base: Base

  var view: OpenedView? { if case .view(let view) = base { view } else { nil } }
  var border: SequenceNumber? { if case .live(let border) = base { border.sequence } else { nil } }

  /// Any thread. After nothing of this is used any more.
  func release() {
    switch base {
    case .view(let view): view.release()
    case .live(let border):
      border.group.loop.post {
        border.group.views.remove(border.hold)
        border.group.journal?.removeBorder(border.sequence)
        border.group.recycle()
      }
    }
  }

  /// Any thread. `expire` is called on the group's loop when the journal needs the space.
  func onExpiry(_ expire: @escaping @Sendable () -> Void) {
    switch base {
    case .view(let view): view.onExpiry(expire)
    case .live(let border):
      border.group.loop.post { border.group.views.setExpiry(border.hold, expire) }
    }
  }
}

extension Group {
  /// Finds what changed since each of the instants: up to the instant of a view, which is opened
  /// first, or (nil) in the disk as it is. On the loop; `completion` is called on a worker or on
  /// the loop.
  ///
  /// - Parameter permitted: which disk of the view is meant, if it may be seen: it may be another
  ///   one of that name, or none.
  func openChanges(
    since expressions: [InstantExpression], upTo end: InstantExpression?, of disk: GroupDisk,
    permitted: @escaping @Sendable (OpenedView) -> Result<GroupDisk, ExportRefusal>,
    completion: @escaping @Sendable (Result<OpenedChanges, ExportRefusal>) -> Void
  ) {
    if let branch {
      return openChanges(
        of: branch, since: expressions, upTo: end, of: disk, permitted: permitted, completion)
    }
    findInstants(expressions) { [self] found in
      // What was written to a disk before it was there, nobody knows.
      let since = { @Sendable [self] (number: DiskNumber) in
        found.map { instant in
          instant.flatMap { at in disks(at: at).contains { $0.number == number } ? at : nil }
        }
      }
      guard let end else { return secureChanges(since: since(disk.number), view: nil, completion) }
      openView(end) { [self] result in
        switch result {
        case .failure(let refusal): completion(.failure(refusal))
        case .success(let view):
          switch permitted(view) {
          case .failure(let refusal):
            view.release()
            completion(.failure(refusal))
          case .success(let shown):
            secureChanges(since: since(shown.number), view: view, completion)
          }
        }
      }
    }
  }

  /// - Parameter instants: nil for one that is not in the history.
  func secureChanges(
    since instants: [Timestamp?], view: OpenedView?,
    _ completion: @escaping @Sendable (Result<OpenedChanges, ExportRefusal>) -> Void
  ) {
    guard let newest = instants.compactMap({ $0 }).max() else {
      return findChanges(since: instants, view: view, completion)
    }
    secure(newest) { [self] problem in
      guard let problem else { return findChanges(since: instants, view: view, completion) }
      view?.release()
      completion(.failure(.unavailable("group \(configuration.name): \(problem)")))
    }
  }

  private func findChanges(
    since instants: [Timestamp?], view: OpenedView?,
    _ completion: @escaping @Sendable (Result<OpenedChanges, ExportRefusal>) -> Void
  ) {
    guard let journal, let history, failure == nil, !isStopping else {
      view?.release()
      return completion(.failure(.unavailable("group \(configuration.name) keeps no history")))
    }
    let end = view?.view.instant ?? .distantFuture
    // What was in the history may have left it meanwhile.
    let starts = instants.map { $0.flatMap { $0 <= end && $0 >= history.start ? $0 : nil } }
    let base: OpenedChanges.Base
    do throws(JournalError) {
      if let view {
        try journal.freezeActive()
        base = .view(view)
      } else {
        let border = try journal.addBorder()
        base = .live(
          OpenedChanges.Border(group: self, sequence: border, hold: views.hold(journal.floor)))
      }
    } catch {
      fail("\(error)")
      view?.release()
      return completion(.failure(.unavailable("group has failed")))
    }
    let plans = starts.map { $0.map { changesPlan(after: $0, through: end, journal) } }
    lanes.views.submit {
      var changes: [ChangedBlocks?] = []
      var failure: VolumeError?
      for plan in plans {
        do throws(VolumeError) {
          changes.append(try plan.map { (plan) throws(VolumeError) in try ChangedBlocks(plan) })
        } catch { failure = error }
        plan?.release()
      }
      let opened = OpenedChanges(changes: changes, base: base)
      if let failure {
        opened.release()
        completion(.failure(.unavailable("\(failure)")))
      } else {
        completion(.success(opened))
      }
    }
  }

  private func changesPlan(
    after start: Timestamp, through end: Timestamp, _ journal: SiteJournal
  ) -> ChangesPlan<SiteSegmentFile> {
    ChangesPlan(
      after: start, through: end, generations: journal.generations, diskCount: journal.diskCount,
      shelf: journal.shelf
    ) { span in
      journal.segments(
        after: SequenceNumber(span.firstSequence.rawValue - 1), through: span.lastSequence)
    }
  }

  /// Whether a record after a border changed the byte at `offset`, and for how many bytes (at most
  /// `limit`) that holds; nil when `maps(after:)` must be read for it. On the loop.
  func change(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, after border: SequenceNumber
  ) -> (length: UInt64, isChanged: Bool?) {
    journal?.change(disk: disk, at: offset, limit: limit, after: border) ?? (limit, false)
  }

  /// What stands for closed generations with a record after a border. On the loop.
  func maps(after border: SequenceNumber) -> [Generation] { journal?.maps(after: border) ?? [] }
}
