import Appliance
import BlockModel
import SystemIO

/// A branch that was made, from its start to its end, through all lives of its site.
final class DrivenBranch {
  let group: Int
  let host: SiteHost
  let instant: Timestamp
  let model: BranchModel
  private unowned let world: World
  private let limit: UInt64
  private let isTimed: Bool
  /// What serves it: changes with each opening of it.
  private var opening: Opening
  /// Nobody has seen yet what is there since.
  private var isUncompared = true
  private var lossesSeen: Int
  /// Somebody may have stopped it.
  var isStopping = false
  /// An answer that only its end, or that of what serves it, explains.
  private var complaint: String?

  struct Opening: Equatable {
    let life: Int
    let closings: Int
  }

  init(_ status: TestStatus, _ group: Int, _ host: SiteHost, _ world: World) {
    self.group = group
    self.host = host
    self.world = world
    let oracle = world.groups[group]
    guard let instant = Timestamp(rfc3339: status.instant) else {
      oracle.violation("test \(status.name) is at \(status.instant)")
    }
    self.instant = instant
    limit = status.limitBytes
    isTimed = status.expires != nil
    let line = oracle.line(world.role(of: group, at: host.index))
    let count = line.count(through: instant)
    let images = line.disks(after: count)
    var base: [Int: DiskImage] = [:]
    for export in status.exports {
      let disk = export.split(separator: "@").first.map(String.init) ?? ""
      guard let number = oracle.disks.number(of: disk) else {
        oracle.violation("test \(status.name) has disk \(disk)")
      }
      base[number] = images[number]
    }
    if oracle.disks.isFixed, base.count != oracle.disks.firstCount {
      oracle.violation("test \(status.name) has the disks \(status.exports)")
    }
    model = BranchModel(status.name, base)
    opening = Opening(life: host.life, closings: 0)
    lossesSeen = host.losses
    opening = present
  }

  var name: String { model.name }
  var present: Opening {
    let served = "\(world.groups[group].name)@\(name)"
    return Opening(life: host.life, closings: host.branchClosings[served, default: 0])
  }

  func violation(_ reason: String) -> Never {
    world.groups[group].violation("test \(name) at \(instant), at \(host.name): \(reason)")
  }

  func export(_ disk: Int) -> String { "\(world.groups[group].disks[disk].name)@\(name)" }

  // MARK: Openings

  /// The connections before are gone, and others were made. Nil: it was opened again meanwhile.
  ///
  /// - Parameter before: what `present` was before they were made.
  /// - Returns: whether all its disks must be read first.
  func connected(_ before: Opening) -> Bool? {
    if before != present { return nil }
    if opening != before {
      opening = before
      isUncompared = true
    } else if !isUncompared {
      model.lostConnection()
      if let complaint, !host.hadDiskErrors { violation(complaint) }
    }
    complaint = nil
    return isUncompared
  }

  /// All its disks were read.
  func restarted(_ found: [Int: [UInt8]]) {
    let mayLack = host.losses != lossesSeen || host.hadDiskErrors
    if let problem = model.restarted(found, mayLack: mayLack) {
      violation("after a start\(mayLack ? ", unflushed writes aside," : "") \(problem)")
    }
    lossesSeen = host.losses
    isUncompared = false
  }

  /// A request has failed.
  func fails(_ what: String) { complaint = complaint ?? what }

  // MARK: The end

  func checkEnding(_ status: TestStatus) {
    let reason = status.reason ?? ""
    world.trace.note("test \(name) has ended: \(reason)")
    func fail() -> Never { violation("it ended: \(reason)") }
    if reason.contains("which is its limit") {
      // Segments are not always full, and small records have headers.
      if UInt64(model.sentBytes) < limit / 16 { fail() }
    } else if reason.contains("its time was up") {
      if !isTimed { fail() }
    } else if reason.contains("could not be saved for it") {
      // After a start the site knows no more than that.
      let isForgotten = reason.contains("what had to be saved for the branch")
      if status.savedBytes < limit / 4, !isForgotten, !world.hadDiskErrors { fail() }
    } else if reason.contains("was never durable where it was written") {
      if world.statistics.cuts == 0 { fail() }
    } else if reason.contains("was dropped, perhaps") {
      if world.statistics.cuts == 0 { fail() }
    } else if reason.contains("could not be opened") {
      if !world.hadDiskErrors { fail() }
    } else if reason.contains("it was stopped") {
      if !isStopping { fail() }
    } else if reason.contains("has left the group") {
      if world.plan.diskOrders == nil { fail() }
    } else if reason.contains("history is another one now") {
      if world.statistics.fullCopies == 0 { fail() }
    } else {
      fail()
    }
  }
}
