import Appliance
import BlockModel
import Configuration
import Journal
import SystemIO

/// One site through its lives: starts it, ends it in every way there is, starts it again, and takes
/// down what it writes and says.
final class SiteHost: @unchecked Sendable {
  enum State {
    case down, starting, serving, stopping
  }

  let index: Int
  let name: String
  let machine: Machine
  private unowned let world: World
  private(set) var state = State.down
  private(set) var life = 0
  private(set) var process: Process?
  private(set) var inspector: Inspector?
  private var wantsStop = false
  /// Which list of disks it was started with.
  private(set) var version = 0
  /// Its last life ended in order.
  private(set) var hasStopped = false
  /// It is not started for now.
  var isHeld = false
  /// Why it did not start when it tried last.
  private(set) var refusal: String?
  /// Some of its journals' bytes are not what was written.
  private(set) var isDamaged = false
  private var hadErrors = false
  /// Grows with whatever may lose what was not synced.
  private(set) var losses = 0
  /// By the names of the groups that serve branches: how often each was closed.
  private(set) var branchClosings: [String: Int] = [:]
  /// Faults of the disk happened in this life, or have left something: what they break is not held
  /// against the site, as long as it says so.
  var hadDiskErrors: Bool { hadErrors || isDamaged }
  private let files: [GroupFiles]
  private var latestClock = Timestamp.zero
  /// By group: the records behind it are given up before the group is opened.
  var yieldings: [Int: JournalState.Mark] = [:]
  /// Groups that are not open yet, or not again, in this life.
  private var closedGroups: Set<Int> = []
  /// By group: how often it was closed, in all lives.
  private(set) var closings: [Int]

  init(_ index: Int, _ world: World) {
    self.index = index
    self.world = world
    name = world.plan.siteNames[index]
    closings = world.groups.map { _ in 0 }
    machine = world.machines[index]
    files = world.groups.indices.map { group in
      GroupFiles(group, at: index, world)
    }
  }

  var isServing: Bool { state == .serving }

  // MARK: Life

  func start() {
    guard state == .down, !isHeld else { return }
    noteClock()
    life += 1
    state = .starting
    wantsStop = false
    version = world.plan.versions[index]
    hasStopped = false
    hadErrors = false
    if machine.faults.hasErrors || machine.hasUntoldLoss { noteDiskErrors() }
    inspector = nil
    world.statistics.starts += 1
    for group in files {
      group.restarting(clock: latestClock, on: machine, isProcessStart: true)
    }
    closedGroups = Set(files.indices)
    let life = life
    process = machine.start("site") { [self] in run(life) }
  }

  /// The main thread of the site's process.
  private func run(_ life: Int) {
    let site: Site
    do throws(SiteError) {
      try yieldGroups()
      let configuration = world.plan.configuration(of: index)
      site = try Site.start(configuration, indexMemory: world.plan.index.memory) {
        [unowned self] line in logged(line, life)
      }
    } catch { return startFailed(error) }
    let inspector = Inspector(site, self, world)
    inspector.waitForFirstAnswer()
    self.inspector = inspector
    state = .serving
    refusal = nil
    world.trace.note("\(name): serves, life \(life)")
    while !wantsStop { inspector.inspect() }
    state = .stopping
    inspector.finishOrders()
    site.stop()
    world.trace.note("\(name): stopped")
    hasStopped = true
    state = .down
  }

  /// Again and again, as long as the roles stay: a kill may have come in between.
  private func yieldGroups() throws(SiteError) {
    for (group, common) in yieldings.sorted(by: { $0.key < $1.key }) {
      let folder = String(files[group].folder.dropLast())
      guard let reason = try Site.yield(folder: folder, to: common) else { continue }
      world.violation("group \(group) of \(name) cannot yield: \(reason)")
    }
  }

  private func startFailed(_ error: SiteError) {
    world.trace.note("\(name): does not start: \(error)")
    state = .down
    refusal = "\(error)"
    guard hadDiskErrors || machine.faults.hasErrors else {
      world.violation("site \(name) does not start: \(error)")
    }
    startLater()
  }

  /// Some time from now.
  func startLater() {
    let delay = world.simulation.random.pick(logarithmic: .milliseconds(5)...(.seconds(2)))
    let life = life
    world.simulation.at(world.simulation.now + delay) { [self] in
      if self.life == life { start() }
    }
  }

  /// An orderly stop; ends some time later.
  func stop() { wantsStop = true }

  func kill() {
    process?.kill()
    state = .down
  }

  func cutPower(keepsSome: Bool = true) {
    machine.cutPower(keepsSome: keepsSome)
    losses += 1
    state = .down
    for group in files { group.reload(from: machine) }
  }

  /// Its disk is that of another time. While it is down.
  func restoreDisk(_ copy: DiskCopy) {
    machine.restoreDisk(copy)
    for group in files { group.reload(from: machine) }
  }

  /// What a start would read, while it is down.
  func settledState(of group: Int) -> JournalState? {
    files[group].reloadState(from: machine)
    return files[group].state
  }

  /// Its groups have other roles now.
  func reloadStates() { for group in files { group.reloadState(from: machine) } }

  /// Before its clock jumps, too.
  func noteClock() {
    latestClock = max(latestClock, Timestamp(nanoseconds: machine.realtimeNanoseconds))
  }

  /// A group is open, as far as this life knows for the first time: nil when that is known already.
  func restarted(_ group: Int, appended: UInt64) {
    guard closedGroups.remove(group) != nil else { return }
    files[group].restarted(appended: appended)
  }

  func noteDiskErrors() {
    hadErrors = true
    losses += 1
    world.hadDiskErrors = true
  }

  func damaged(_ path: String, _ range: Range<Int>) {
    isDamaged = true
    for group in files where path.hasPrefix(group.folder) {
      group.damaged(String(path.dropFirst(group.folder.count)), range)
    }
  }

  // MARK: What it says and writes

  private func logged(_ line: String, _ life: Int) {
    world.trace.mix(line)
    world.trace.note("\(name): says: \(line)")
    if noteBranch(line) { return }
    noteCut(line)
    glance(line)
    followOpenings(line)
    followLosses(line)
    checkDamage(line)
  }

  /// "group g0@t1: …", of a group that serves a branch. False: it is of another.
  private func noteBranch(_ line: String) -> Bool {
    let words = line.split(separator: " ")
    guard words.count > 1, words[0] == "group", words[1].contains("@") else { return false }
    if line.contains("everything of it has ended") {
      branchClosings[String(words[1].prefix { $0 != ":" }), default: 0] += 1
    }
    return true
  }

  /// "group g0: record 7 in segment 2 of the journal is damaged and …"
  private func checkDamage(_ line: String) {
    guard line.contains("of the journal is damaged"), !hadDiskErrors, !machine.faults.hasErrors
    else { return }
    world.violation("site \(name) finds damage where there is none: \(line)")
  }

  /// "group g0: records 29 to 34 were lost with …", and "group g0, disk g0-d1: a client …".
  private func followLosses(_ line: String) {
    guard let index = world.groups.firstIndex(where: { line.hasPrefix("group \($0.name)") })
    else { return }
    let disks = world.groups[index].disks
    let oracle = world.groups[index].protected
    if line.contains("were lost with the failed journal"), !line.contains("writes-lost") {
      oracle.lostAcknowledged(diskCount: disks.disks.count)
    } else if line.contains("was told of the loss"),
      let disk = disks.disks.lastIndex(where: {
        $0.map { line.contains("disk \($0.name):") } ?? false
      })
    {
      oracle.tells(disk)
    }
  }

  /// "group g0: open again, and serves; its order ends with record 17", and what comes before it.
  private func followOpenings(_ line: String) {
    guard let group = files.indices.first(where: { line.hasPrefix("group \(files[$0].name)") })
    else { return }
    if line.contains("serves nothing until it is opened again")
      || line.contains("cannot be opened, and is tried again")
    {
      guard hadDiskErrors || machine.faults.hasErrors else {
        world.violation("site \(name): \(line)")
      }
    } else if line.contains("everything of it has ended") {
      closedGroups.insert(group)
      closings[group] += 1
      noteClock()
      files[group].restarting(clock: latestClock, on: machine)
      world.ambushes.restartsAfterFailedSync(self)
    } else if line.contains("open again, and serves"), let last = line.split(separator: " ").last {
      world.statistics.reopenings += 1
      restarted(group, appended: UInt64(last) ?? 0)
    }
  }

  /// "group g0: records after 17 never became durable at …", or "… were given up by …"
  private func noteCut(_ line: String) {
    let words = line.split(separator: " ")
    guard line.contains("; they are dropped"), words.count > 4,
      let group = world.groups.firstIndex(where: { "\($0.name):" == words[1] }),
      let last = UInt64(words[4])
    else { return }
    world.statistics.cuts += 1
    world.groups[group].cut(files[group].role, to: last)
    world.ambushes.wentBack(self)
  }

  /// While a group is set back, somebody may look at what it had.
  private func glance(_ line: String) {
    guard let group = world.groups.firstIndex(where: { line.hasPrefix("group \($0.name):") })
    else { return }
    if line.contains("is kept in mind for it") {
      for (number, recovery) in world.groups[group].recoveries.enumerated()
      where line.contains("that \(world.site(of: group, .recovery(number)).name) has not") {
        recovery.isDetached = true
      }
    }
    if line.contains(": a full copy from") { world.ambushes.copyBegan(self) }
    guard line.contains("; they are dropped") || line.contains(": a full copy from"),
      !world.isQuiet, let inspector, let instants = inspector.instants[group]
    else { return }
    for _ in 0..<3 { Viewer(world.nextViewerNumber(), world).glance(self, group, instants) }
  }

  func syncFailed(_ path: String) {
    world.chaos.syncFailed(at: self)
    losses += 1
    for group in files where path.hasPrefix(group.folder) { group.syncFailed() }
  }

  func wrote(_ path: String, _ offset: Int, _ bytes: [UInt8]) {
    world.ambushes.wrote(path, offset, bytes, at: self)
    if path.contains("/branches/"), path.contains("/saved"), offset >= 4096 {
      world.ambushes.saved(at: self)
    }
    for (index, group) in files.enumerated() where path.hasPrefix(group.folder) {
      let isStarting = closedGroups.contains(index)
      group.wrote(
        String(path.dropFirst(group.folder.count)), offset, bytes, at: machine,
        isStarting: isStarting)
    }
  }

  /// While the site is down: its raw files hold the group's first `count` records, or as many as
  /// its state file says.
  func compareBases(of group: Int, with count: Int? = nil) {
    if let count {
      files[group].compareBases(with: count, at: machine)
    } else if let state = files[group].state {
      files[group].checkBases(state, machine)
    }
  }
}

extension DiskFaults {
  var hasErrors: Bool {
    readError > 0 || writeError > 0 || syncError > 0 || capacityBytes < .max
  }
}
