import BlockModel
import Configuration
import Journal
import Volume

/// What changed in a branch's disk since an instant: one of the branch, or one of its group from
/// before it began. Then it is what the group had changed up to there, and all that was written to
/// the branch. It is complete, or refused.
extension Group {
  /// An instant that a client names of a branch's disk.
  private enum Start: Sendable {
    /// In the branch.
    case own(Timestamp)
    /// In the history of its group, at or before the branch's.
    case before(Timestamp)
    /// Neither has it.
    case unknown

    var before: Timestamp? { if case .before(let instant) = self { instant } else { nil } }
  }

  /// As `findInstants`, for a disk of a branch. On the loop, as `completion`.
  func findInstants(
    of branch: ServedBranch, _ expressions: [InstantExpression], _ disk: DiskNumber,
    completion: @escaping @Sendable ([Timestamp?]) -> Void
  ) {
    starts(expressions, disk, branch) { starts in
      completion(
        starts.map { start in
          switch start {
          case .own(let instant), .before(let instant): instant
          case .unknown: nil
          }
        })
    }
  }

  /// As `openChanges`, for a disk of a branch. On the loop; `completion` is called on a worker or
  /// on the loop.
  func openChanges(
    of branch: ServedBranch, since expressions: [InstantExpression],
    upTo end: InstantExpression?, of disk: GroupDisk,
    permitted: @escaping @Sendable (OpenedView) -> Result<GroupDisk, ExportRefusal>,
    _ completion: @escaping @Sendable (Result<OpenedChanges, ExportRefusal>) -> Void
  ) {
    guard let end else {
      return openChanges(of: branch, since: expressions, disk, view: nil, completion)
    }
    openView(end) { [self] result in
      let shown = result.flatMap { view in
        permitted(view).map { ($0, view) }.mapError { refusal in
          view.release()
          return refusal
        }
      }
      switch shown {
      case .failure(let refusal): completion(.failure(refusal))
      case .success((let disk, let view)):
        loop.post { [self] in
          openChanges(of: branch, since: expressions, disk, view: view, completion)
        }
      }
    }
  }

  private func openChanges(
    of branch: ServedBranch, since expressions: [InstantExpression], _ disk: GroupDisk,
    view: OpenedView?,
    _ completion: @escaping @Sendable (Result<OpenedChanges, ExportRefusal>) -> Void
  ) {
    starts(expressions, disk.number, branch) { [self] starts in
      branch.changes(since: starts.map(\.before), disk.number) { [self] result in
        loop.post { [self] in
          switch result {
          case .failure(let refusal):
            view?.release()
            completion(.failure(refusal))
          case .success(let before): openChanges(starts, before, view, completion)
          }
        }
      }
    }
  }

  private func starts(
    _ expressions: [InstantExpression], _ disk: DiskNumber, _ branch: ServedBranch,
    _ completion: @escaping @Sendable ([Start]) -> Void
  ) {
    let (loop, beginning) = (loop, branch.branch.record.base)
    findInstants(expressions) { own in
      branch.findInstants(expressions, showing: disk) { found in
        let starts = zip(own, found).map { own, found -> Start in
          if let own { return .own(own) }
          // Later the group has what the branch lacks: who holds that cannot be told enough.
          guard let found, found <= beginning else { return .unknown }
          return .before(found)
        }
        loop.post { completion(starts) }
      }
    }
  }

  /// - Parameter before: what the branch's group had changed; nil where that is not asked.
  private func openChanges(
    _ starts: [Start], _ before: [ChangedBlocks?], _ view: OpenedView?,
    _ completion: @escaping @Sendable (Result<OpenedChanges, ExportRefusal>) -> Void
  ) {
    let beginning = history?.start ?? .distantFuture
    let own = zip(starts, before).map { start, before -> Timestamp? in
      switch start {
      case .own(let instant): max(instant, beginning)
      case .before: before == nil ? nil : beginning
      case .unknown: nil
      }
    }
    secureChanges(since: own, view: view) { result in
      completion(
        result.map { opened in
          let united = zip(opened.changes, before).map { own, before in
            guard let own, let before else { return own }
            return ChangedBlocks(uniting: before, own)
          }
          return OpenedChanges(changes: united, base: opened.base)
        })
    }
  }
}

extension ServedBranch {
  /// In the history of the branch's group; nil: not there, or the disk was not. Any thread;
  /// `completion` is called on the group's loop.
  fileprivate func findInstants(
    _ expressions: [InstantExpression], showing disk: DiskNumber,
    _ completion: @escaping @Sendable ([Timestamp?]) -> Void
  ) {
    group.loop.post { [group] in
      group.findInstants(expressions) { found in
        completion(
          found.map { instant in
            instant.flatMap { at in
              group.disks(at: at).contains { $0.number == disk } ? at : nil
            }
          })
      }
    }
  }

  /// What the group had changed since the instants when the branch began; nil where it is not
  /// asked, or not known any more. Any thread.
  fileprivate func changes(
    since instants: [Timestamp?], _ number: DiskNumber,
    _ completion: @escaping @Sendable (Result<[ChangedBlocks?], ExportRefusal>) -> Void
  ) {
    let asked = instants.compactMap { $0 }
    if asked.isEmpty { return completion(.success(instants.map { _ in nil })) }
    let beginning = branch.record.base
    group.loop.post { [group] in
      guard let disk = group.disks(at: beginning).first(where: { $0.number == number }) else {
        return completion(.success(instants.map { _ in nil }))
      }
      group.openChanges(
        since: asked.map { .at($0) }, upTo: .at(beginning), of: disk,
        permitted: { _ in .success(disk) }
      ) { result in
        switch result {
        // Apply has passed the branch's instant: what came before it cannot be told any more.
        case .failure: completion(.success(instants.map { _ in nil }))
        case .success(let opened):
          opened.release()
          var found = opened.changes[...]
          completion(.success(instants.map { $0 == nil ? nil : found.removeFirst() }))
        }
      }
    }
  }
}
