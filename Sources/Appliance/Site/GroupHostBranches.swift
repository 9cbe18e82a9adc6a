import BlockModel
import SystemIO

/// The loops over which groups are spread: who comes gets the one that has the fewest. Any thread.
final class LoopShares: Sendable {
  let loops: [EventLoop]
  private let counts: Monitor<[Int]>

  init(_ loops: [EventLoop]) {
    self.loops = loops
    counts = Monitor(loops.map { _ in 0 })
  }

  func take() -> EventLoop {
    counts.withLock { counts in
      let least = counts.indices.min { counts[$0] < counts[$1] } ?? 0
      counts[least] += 1
      return loops[least]
    }
  }

  func giveBack(_ loop: EventLoop) {
    loop.post { loop.groupCount -= 1 }
    counts.withLock { counts in
      if let index = loops.firstIndex(where: { $0 === loop }) { counts[index] -= 1 }
    }
  }
}

/// The branches of a group have hosts of their own, in the order in which they were made.
extension GroupHost {
  /// Any thread.
  var branches: [GroupHost] { branchHosts.withLock { $0 } }

  func branchHost(named name: String) -> GroupHost? {
    branches.first { $0.name == BranchOpening.groupName(name, of: self.name) }
  }

  /// The group is open: those of its branches that have no host get one, and the others try again.
  /// What was a branch of it before ends.
  /// On the group's thread.
  func hostBranches(of group: Group, _ files: InheritedFiles, servesAlone: Bool) {
    let names = group.branches.listed.map { BranchOpening.groupName($0.name, of: name) }
    for host in branches where !names.contains(host.name) { endBranch(host) }
    for branch in group.branches.listed {
      if let host = branchHost(named: branch.name) {
        host.retry()
      } else {
        host(branch.record, files, servesAlone: servesAlone).start()
      }
    }
  }

  /// A host for a branch of the group. It has yet to be started.
  func host(
    _ record: BranchRecord, _ files: InheritedFiles = InheritedFiles(), servesAlone: Bool
  ) -> GroupHost {
    let host = GroupHost(
      branch: record, of: self, files, servesAlone: servesAlone)
    branchHosts.update { $0.append(host) }
    return host
  }

  /// Ends a branch's host and forgets it. Blocks.
  func endBranch(_ host: GroupHost) {
    host.stop()
    host.join()
    branchHosts.update { $0.removeAll { $0 === host } }
    host.giveBackLoop()
  }

  /// The group does not come to serve; the next opening makes new hosts. Blocks.
  func forgetBranches() { for branch in branches { endBranch(branch) } }

  /// Blocks until no branch is served any more.
  func endBranches() {
    for branch in branches { branch.stop() }
    for branch in branches { branch.join() }
  }
}
