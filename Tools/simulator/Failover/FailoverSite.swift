import Appliance
import BlockModel
import Journal
import SystemIO

/// One site of a `FailoverWorld` through its lives: starts it, ends it, and takes what it writes
/// and says to the oracle.
final class FailoverSite: @unchecked Sendable {
  enum State {
    case down, starting, serving, stopping
  }

  let index: Int
  let name: String
  let machine: Machine
  let oracle: SiteOracle
  private unowned let world: FailoverWorld
  private(set) var state = State.down
  private(set) var life = 0
  private var process: Process?
  private var wantsStop = false
  private var orders: [@Sendable (Site) -> Void] = []
  private var runningOrders = 0
  /// Of this life, what the site has said of itself last.
  private(set) var status: GroupStatus?
  private(set) var instants: (start: Timestamp, end: Timestamp, generation: Int)?
  /// What it listed as parked last, and in which opening.
  private var listed: (opening: Int, names: Set<String>, required: Set<String>)?
  /// What is parked and was open when it was asked last.
  private var opened: Set<String> = []
  /// What is parked and must be deleted before the site can follow, as it has said last.
  var obstacles: Set<String> = []
  /// The group is closed for a while, or not open yet.
  private var isClosed = true
  /// When it was fenced, unless that must be known for good by now.
  private var isFenceFresh: Bool {
    guard let since = oracle.fencedSince else { return false }
    return world.simulation.now - since < .seconds(1)
  }

  private var segments: SegmentWatcher!
  private let states = StateWatcher()

  init(_ index: Int, _ world: FailoverWorld) {
    self.index = index
    self.world = world
    name = FailoverPlan.siteNames[index]
    machine = world.machines[index]
    oracle = world.oracle.sites[index]
    segments = SegmentWatcher { [unowned self] in handle($0) }
  }

  var isServing: Bool { state == .serving }
  /// All that is parked can be opened: what had to be closed is opened again some time later.
  var showsParked: Bool {
    oracle.ownership.required.subtracting(oracle.ownership.deleted).isSubset(of: opened)
  }

  // MARK: Life

  func start() {
    guard state == .down else { return }
    life += 1
    state = .starting
    wantsStop = false
    orders = []
    runningOrders = 0
    status = nil
    instants = nil
    opened = []
    isClosed = true
    world.statistics.starts += 1
    reload()
    oracle.restarting(isCopying: states.state?.baseline == .copying)
    let life = life
    process = machine.start("site") { [self] in run(life) }
  }

  /// The main thread of the site's process.
  private func run(_ life: Int) {
    let site: Site
    do throws(SiteError) {
      site = try Site.start(
        world.plan.configuration(of: index), indexMemory: world.plan.indexMemory
      ) { [unowned self] line in logged(line, life) }
    } catch { world.violation("site \(name) does not start: \(error)") }
    while isClosed { look(at: site) }
    state = .serving
    world.trace.note("\(name): serves, life \(life)")
    while !wantsStop {
      pause(site)
      look(at: site)
    }
    state = .stopping
    while runningOrders > 0 { Thread.sleep(milliseconds: 5) }
    site.stop()
    world.trace.note("\(name): stopped")
    state = .down
  }

  private func pause(_ site: Site) {
    for _ in 0...(1 + world.simulation.random.below(20)) {
      for order in orders {
        runningOrders += 1
        _ = Thread(name: "control") { [self] in
          order(site)
          runningOrders -= 1
        }
      }
      orders = []
      Thread.sleep(milliseconds: 5)
    }
  }

  /// An orderly stop; ends some time later.
  func stop() { wantsStop = true }

  func kill() {
    process?.kill()
    ended()
  }

  func cutPower() {
    machine.cutPower()
    oracle.mayLose()
    ended()
  }

  private func ended() {
    state = .down
    // A site that has just heard of it may not have written it down.
    guard isFenceFresh else { return }
    states.replace(with: machine.settledContents(of: FailoverPlan.folder + "state"))
    if states.state?.fences.isEmpty ?? true { oracle.fenced(at: nil) }
  }

  /// Some time from now.
  func startLater(within range: ClosedRange<UInt64> = .milliseconds(5)...(.seconds(2))) {
    let delay = world.simulation.random.pick(logarithmic: range)
    let life = life
    world.simulation.at(world.simulation.now + delay) { [self] in
      if self.life == life { start() }
    }
  }

  /// Has a thread of the site's process do what control would, and waits for it. Nil: the process
  /// has ended meanwhile.
  func order<Answer>(_ body: @escaping @Sendable (Site) -> Answer) -> Answer? {
    guard isServing else { return nil }
    let life = life
    let answer = Answered<Answer>()
    orders.append { answer.value = body($0) }
    let limit = world.simulation.now + .seconds(200)
    while true {
      if let value = answer.value { return value }
      Thread.sleep(milliseconds: 1)
      if self.life != life || state == .down { return nil }
      if world.simulation.now > limit { world.violation("\(name) does not answer a command") }
    }
  }

  // MARK: What it says

  /// Asks it how it is.
  private func look(at site: Site) {
    let (opening, generation) = (oracle.opening, oracle.line.generation)
    guard let found = site.status().groups.first else { return }
    if found.journal != nil, isClosed { opens(appended: found.watermarks.appended) }
    status = found
    guard !isClosed, found.journal != nil else {
      instants = nil
      return
    }
    let required = oracle.ownership.required
    let tests = site.tests().filter { $0.kind == "parked" }
    let names = Set(tests.map(\.name))
    let timeline = try? site.timeline(group: FailoverPlan.group)
    // It may have been closed meanwhile.
    let again = site.status().groups.first
    guard again?.journal != nil, again?.closed == nil, !isClosed, opening > 0,
      opening == oracle.opening
    else { return }
    // What changes just now counts the next time.
    if let listed, listed.opening == opening, listed.names == names {
      oracle.ownership.lists(names, of: required.intersection(listed.required), at: oracle)
    }
    listed = (opening, names, required)
    opened = Set(tests.filter { $0.state == "open" }.map(\.name))
    check(found)
    instants = nil
    guard let start = timeline?.start.flatMap({ Timestamp(rfc3339: $0) }),
      let end = timeline?.end.flatMap({ Timestamp(rfc3339: $0) }),
      generation == oracle.line.generation
    else { return }
    instants = (start, end, generation)
  }

  private func check(_ found: GroupStatus) {
    let marks = found.watermarks
    guard marks.stamped >= marks.appended, marks.appended >= marks.durable,
      marks.durable >= marks.applied
    else { oracle.violation("watermarks cross: \(marks)") }
    oracle.noteDurable(through: marks.durable)
  }

  private func logged(_ line: String, _ life: Int) {
    world.trace.mix(line)
    world.trace.note("\(name): says: \(line)")
    // Of a branch.
    guard line.hasPrefix("group \(FailoverPlan.group):") else { return }
    if line.contains("no write is acknowledged here any more") {
      world.statistics.fences += 1
      oracle.fenced(at: world.simulation.now)
    } else if line.contains(" has given the group back: writes go on") {
      oracle.fenced(at: nil)
    } else if line.contains("which would take away writes that are parked") {
      noteObstacles(line, after: "--parked`): ", upTo: nil)
    } else if line.contains(", and it cannot, which is tried again: ") {
      noteObstacles(line, after: ": what is parked as ", upTo: " begins after ")
    } else if line.contains(" has ended: ") {
      // "group g0: branch parked-g0-2 has ended: …"
      let words = line.split(separator: " ")
      if words.count > 3, words[2] == "branch" { endsBranch(String(words[3]), line) }
    } else if line.contains("; they are dropped") {
      // "group g0: records after 17 never became durable at …"
      let words = line.split(separator: " ")
      if words.count > 4, let last = UInt64(words[4]) { oracle.cut(to: last) }
    } else if line.contains("open again, and serves"), let last = line.split(separator: " ").last {
      opens(appended: UInt64(last) ?? 0)
    } else if line.contains("cannot be opened, and is tried again")
      || line.contains("serves nothing until it is opened again")
    {
      world.violation("site \(name): \(line)")
    }
  }

  /// Names between those words.
  private func noteObstacles(_ line: String, after start: String, upTo end: String?) {
    guard var rest = line.split(separator: start, maxSplits: 1).dropFirst().first else { return }
    if let end { rest = rest.split(separator: end, maxSplits: 1).first ?? rest }
    obstacles = Set(rest.split(separator: ", ").map(String.init))
  }

  /// The limit of what is parked, which is the journal's capacity, is small for what may have to be
  /// saved for it, of which each extent counts as 512 bytes at least.
  var mayRunOut: Bool {
    let size = UInt64(world.plan.disks.reduce(0) { $0 + $1.byteCount })
    return 8 * size > world.plan.settings[index].capacityBytes
  }

  /// What is parked ends for two reasons alone: it has run out of room, or the owner has lost what
  /// it is built on.
  private func endsBranch(_ name: String, _ reason: String) {
    guard oracle.ownership.parked[name] != nil else { return }
    let isTooLarge = reason.contains("had to be saved") && mayRunOut
    let isLost = reason.contains("was never durable where it was written")
    guard isTooLarge || isLost && world.oracle.lossCount > 0 else {
      oracle.violation(reason)
    }
    world.statistics.endings += 1
    oracle.ownership.ends(name)
  }

  private func opens(appended: UInt64) {
    isClosed = false
    oracle.restarted(
      appended: appended, applied: states.state?.applied.sequence.rawValue ?? 0, segments)
  }

  // MARK: What it writes

  func wrote(_ path: String, _ offset: Int, _ bytes: [UInt8]) {
    guard path.hasPrefix(FailoverPlan.folder) else { return }
    var name = String(path.dropFirst(FailoverPlan.folder.count))
    // An open file goes by the name that it was created with.
    if name.hasSuffix(".new") { name.removeLast(4) }
    if JournalRecovery<FolderStorage>.slot(named: name) != nil {
      segments.wrote(name, offset, bytes)
    } else if name == JournalStateFile<File>.name {
      wroteState(offset, bytes)
    } else {
      let parts = name.split(separator: "/")
      if parts.count == 3, parts[0] == "branches", parts[2] == "parking", offset == 0 {
        oracle.ownership.begins(String(parts[1]), at: oracle)
      }
    }
  }

  private func wroteState(_ offset: Int, _ bytes: [UInt8]) {
    let old = states.state
    guard let new = states.wrote(offset, bytes) else { return }
    let fork = new.fork.map { "\($0.stage) after \($0.after.sequence.rawValue)" } ?? "none"
    world.trace.note(
      "\(name): state: \(new.ownership.duty) by term \(new.ownership.term), fork \(fork), "
        + "durable \(new.durable.rawValue), applied \(new.applied.sequence.rawValue), peer "
        + "\(new.followers.mark?.rawValue ?? 0), segments from \(new.oldestSegment), "
        + "\(new.baseline)")
    let isExchange = old?.fork != new.fork || old?.ownership.duty != new.ownership.duty
    if isExchange { noteSegments() }
    if isExchange || isClosed { reloadSegments() }
    world.count(from: old, to: new)
    oracle.ownership.wrote(new, at: oracle)
    oracle.noteDurable(through: new.durable.rawValue)
    if old?.applied != new.applied || isExchange { checkBases() }
  }

  /// What a start reads.
  private func reload() {
    states.replace(with: machine.settledContents(of: FailoverPlan.folder + "state"))
    oracle.ownership.read(states.state, at: oracle)
    reloadSegments()
  }

  private func reloadSegments() {
    segments.forget { machine.contents(of: FailoverPlan.folder + $0) == nil }
    for path in machine.fileNames() where path.hasPrefix(FailoverPlan.folder) {
      let name = String(path.dropFirst(FailoverPlan.folder.count))
      if JournalRecovery<FolderStorage>.slot(named: name) != nil {
        segments.reload(name, machine.contents(of: path) ?? [])
      }
    }
  }

  private func noteSegments() {
    for path in machine.fileNames() where path.hasPrefix(FailoverPlan.folder) {
      guard path.contains("/segment-"), !path.hasSuffix(".index"),
        let bytes = machine.contents(of: path)?.prefix(SegmentHeader.byteCount),
        let header = try? SegmentHeader(decoding: Array(bytes))
      else { continue }
      world.trace.note(
        "\(name): \(path) is segment \(header.number) of epoch \(header.epoch), from record "
          + "\(header.firstSequence.rawValue) on")
    }
  }

  private func handle(_ event: SegmentWatcher.Event) {
    switch event {
    case .opened(let header, _):
      let first = header.firstSequence.rawValue
      world.trace.note("\(name): segment \(header.number) from record \(first) on")
      oracle.opened(header)
    case .rewound(let last): oracle.rewound(to: last)
    case .astray(let what): oracle.violation(what)
    case .record(let found):
      let record = oracle.found(found)
      world.trace.note("\(name): \(record)")
    }
  }

  /// The disks are what the order makes of them, whenever the state file says that they are.
  func checkBases() {
    guard let state = states.state, state.baseline == .complete,
      state.applied.sequence >= state.applyTarget.sequence,
      state.applied.timestamp >= state.historyStart, !oracle.ownership.isExchanging
    else { return }
    compareBases(with: Int(state.applied.sequence.rawValue))
  }

  /// The raw files hold the first `count` records and nothing else.
  func compareBases(with count: Int) {
    guard count <= oracle.line.count else {
      oracle.violation("record \(count) is applied, of \(oracle.line.count) that there are")
    }
    world.statistics.appliesChecked += 1
    for (number, image) in oracle.line.disks(after: count).enumerated() {
      let path = Plan.diskPath(world.plan.disks[number].name)
      if machine.file(path, holds: image.pages, byteCount: image.byteCount) { continue }
      let found = machine.contents(of: path) ?? []
      if let difference = difference(of: found, from: image.bytes) {
        oracle.violation("\(path) with \(count) records applied: \(difference)")
      }
    }
  }
}

/// Of one command. Confined to the simulation's thread.
private final class Answered<Value>: @unchecked Sendable {
  var value: Value?
}
