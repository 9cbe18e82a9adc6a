import BlockModel
import Journal

/// What a site's state file has said of its ownership, and what follows from that for its order: a
/// fork leaves records out, a way back brings them again, and who gives way keeps what it has
/// beside the order. A power cut may take back the last step, unless somebody was told of it.
struct SiteOwnership {
  private struct Key: Equatable {
    let duty: Duty
    let stage: Fork.Stage?
    let identity: GroupIdentifier?
    let isReconciling: Bool

    init(_ state: JournalState) {
      duty = state.ownership.duty
      stage = state.fork?.stage
      identity = state.fork?.identity
      isReconciling = state.baseline == .reconciling
    }
  }

  /// Before the last step.
  private struct Before {
    let key: Key
    let fork: ForkRecord?
    let required: Set<String>
    let tip: Record?
    let floor: UInt64
    let changedLine: Bool
  }

  private(set) var state: JournalState?
  private(set) var fork: ForkRecord?
  private var before: Before?
  /// What was parked under each name last.
  private(set) var parked: [String: ParkedRecords] = [:]
  private var bases: [String: Int] = [:]
  /// Those that must be there.
  private(set) var required: Set<String> = []
  /// In which opening each of them was required first: the next one lists it.
  private var requiredIn: [String: Int] = [:]
  /// Those that an operator has begun to delete.
  private(set) var deleted: Set<String> = []
  /// Ends of what somebody has had dropped.
  private var dropped: [ParkedRecords] = []
  /// What was to leave for another owner could not.
  private(set) var isObstructed = false
  /// What the next fork is to be: nil: nothing is expected.
  var expected: Expectation?

  enum Expectation {
    case latest
    case instant(Timestamp)
  }

  var isOwner: Bool { state?.ownership.duty == .owning }
  var isFollower: Bool { state?.ownership.duty == .following }
  var isPending: Bool { state?.fork?.stage == .pending }
  /// Records are on their way from the journal to a branch, or back.
  var isExchanging: Bool { state?.fork.map { $0.stage != .pending } ?? false }

  func keeps(_ holds: (Line) -> Bool) -> Bool {
    parked.values.contains { holds($0.line) } || dropped.contains { holds($0.line) }
  }

  // MARK: Steps

  /// The site has written this state.
  mutating func wrote(_ new: JournalState, at site: SiteOracle) {
    let old = state
    state = new
    if let fork = new.fork, fork.stage != .parking, fork.stage != .reverting,
      new.applied.sequence > fork.after.sequence
    {
      site.violation(
        "record \(new.applied.sequence.rawValue) is applied, past the fork after "
          + "\(fork.after.sequence.rawValue), which is pending")
    }
    if new.baseline == .copying,
      old.map({ Self.beginsAnew(new, after: $0, at: site) }) ?? true
    {
      beginCopy(new, after: old, at: site)
    }
    guard let old else { return }
    if old.baseline == .copying, new.baseline == .complete { site.copied() }
    if Key(old) == Key(new) {
      before = nil
      return
    }
    step(from: old, to: new, at: site)
  }

  /// The number of the oldest segment falls where what has come of a copy is erased again; and the
  /// first that is to come may be a later one.
  private static func beginsAnew(
    _ new: JournalState, after old: JournalState, at site: SiteOracle
  ) -> Bool {
    old.baseline != .copying || old.copy.number != new.copy.number
      || new.oldestSegment < old.oldestSegment || new.applied.sequence.rawValue > site.line.count
  }

  private mutating func beginCopy(
    _ new: JournalState, after old: JournalState?, at site: SiteOracle
  ) {
    let other = site.group.other(than: site)
    if old?.baseline == .complete || old?.baseline == .reconciling, site.group.lossCount == 0 {
      site.violation("a full copy begins, though no owner has lost anything")
    }
    let start = Int(new.applied.sequence.rawValue)
    dropped.append(ParkedRecords(endingWith: site.tip, site.group))
    site.erased(keeping: other.line.record(start))
  }

  private mutating func step(from old: JournalState, to new: JournalState, at site: SiteOracle) {
    let (tip, floor) = (site.tip, site.durableFloor)
    let (oldFork, oldRequired) = (fork, required)
    var changedLine = false
    isObstructed = false
    switch (old.fork?.stage, new.fork?.stage) {
    case (nil, .parking?):
      parks(new, at: site)
    case (.parking?, .pending?):
      site.moves(to: fork?.after, floor: .max)
      changedLine = true
      if let name = new.fork?.parked, !name.isEmpty { require(name, fork?.tail, at: site) }
    case (.parking?, nil) where new.ownership.duty == .owning:
      // It was committed with that.
      site.moves(to: fork?.after, floor: .max)
      changedLine = true
      if let name = old.fork?.parked, !name.isEmpty { require(name, fork?.tail, at: site) }
      fork = nil
    case (.parking?, nil):
      fork = nil
    case (.pending?, nil):
      fork = nil
    case (.pending?, .returning?):
      fork?.returned = site.tip
    case (.returning?, nil):
      if let parked = old.fork?.parked, !parked.isEmpty { required.remove(parked) }
      if let name = old.fork?.returned, !name.isEmpty {
        require(name, fork?.returned, at: site)
      } else {
        dropped.append(ParkedRecords(endingWith: fork?.returned, site.group))
      }
      site.moves(to: fork?.tail, floor: .max)
      site.fenced(at: nil)
      changedLine = true
      fork = nil
    case (nil, .yielding?):
      let after = site.line.record(Int(new.fork?.after.sequence.rawValue ?? 0))
      site.noteDurable(through: .max)
      fork = ForkRecord(after: after, tail: site.tip)
    case (.yielding?, nil) where new.durable > old.fork?.after.sequence ?? .none:
      // Nothing has left: something that is parked already is built on what would.
      isObstructed = true
      fork = nil
    case (.yielding?, nil):
      if let name = old.fork?.parked { hasYielded(name, at: site) }
      site.moves(to: fork?.after, floor: .max)
      site.group.yieldCount += 1
      changedLine = true
      fork = nil
    case (nil, .jumping?):
      site.noteDurable(through: .max)
      let after = site.line.record(Int(new.fork?.after.sequence.rawValue ?? 0))
      fork = ForkRecord(after: after, tail: site.tip)
      if old.ownership.duty == .owning { site.fenced(at: nil) }
    case (.jumping?, nil) where new.lack.list != old.lack.list:
      jumps(new, from: old, at: site)
      changedLine = true
      fork = nil
    case (.jumping?, nil): fork = nil
    case (nil, .reverting?):
      fork = ForkRecord(after: nil, tail: new.fork.flatMap { parked[$0.parked]?.tip })
    case (.reverting?, nil):
      // What has come since is of no instant.
      dropped.append(ParkedRecords(endingWith: tip, site.group))
      if let name = old.fork?.parked { required.remove(name) }
      site.moves(to: fork?.tail, floor: .max)
      changedLine = true
      fork = nil
    case (nil, nil) where old.ownership.duty == .owning && new.ownership.duty == .following:
      yields(new, at: site)
      changedLine = true
    case (nil, nil) where new.baseline == .reconciling:
      // It had gone back to what was its own.
      yields(new, at: site)
      changedLine = true
    case (nil, nil) where old.baseline == .reconciling: break
    default:
      site.violation("goes from \(Key(old)) to \(Key(new))")
    }
    before = Before(
      key: Key(old), fork: oldFork, required: oldRequired, tip: tip, floor: floor,
      changedLine: changedLine)
  }

  private mutating func parks(_ new: JournalState, at site: SiteOracle) {
    guard let said = new.fork else { return }
    let after = site.line.record(Int(said.after.sequence.rawValue))
    guard after?.sequence ?? 0 == said.after.sequence.rawValue else {
      site.violation("forks after record \(said.after.sequence), of \(site.line.count)")
    }
    let next = site.line.record(Int(said.after.sequence.rawValue) + 1)
    if let after, after.header.timestamp > said.instant {
      site.violation("forks at \(said.instant) after the later \(after)")
    }
    if let next, next.header.timestamp <= said.instant {
      site.violation("forks at \(said.instant) before \(next)")
    }
    switch expected {
    case .latest?:
      if let next { site.violation("is taken over as it was last, without \(next)") }
    case .instant(let wanted)?:
      if said.instant != wanted {
        site.violation("forks at \(said.instant), and not at \(wanted)")
      }
    case nil: site.violation("forks at \(said.instant), and nobody has asked for it")
    }
    if next == nil, !said.parked.isEmpty { site.violation("parks nothing as \(said.parked)") }
    // The group was closed in order.
    site.noteDurable(through: .max)
    fork = ForkRecord(after: after, tail: site.tip)
  }

  /// It follows another owner from the last record that both have.
  private mutating func yields(_ new: JournalState, at site: SiteOracle) {
    let common = site.line.record(
      new.baseline == .reconciling ? Int(new.applied.sequence.rawValue) : site.line.count)
    let other = site.group.other(than: site)
    if let common, !other.holds(common) {
      site.violation("follows \(other.name) from \(common), which that one never had")
    }
    if let tip = site.tip, common !== tip {
      site.group.yieldCount += 1
      guard keeps({ $0.record(Int(tip.sequence)) === tip }) else {
        site.violation("gives way, and has not parked what it has, up to \(tip)")
      }
    }
    site.fenced(at: nil)
    site.moves(to: common, floor: .max)
  }

  /// It goes on behind a record of the other one, and what it has is parked.
  private mutating func jumps(
    _ new: JournalState, from old: JournalState, at site: SiteOracle
  ) {
    let other = site.group.other(than: site)
    let last = Int(new.applied.sequence.rawValue)
    let next = other.line.record(last)
    if last > 0, next == nil { site.violation("goes on behind record \(last), which nobody has") }
    if let name = old.fork?.parked, !name.isEmpty {
      require(name, fork?.tail, at: site)
    } else if old.baseline == .complete, let tip = site.tip,
      !keeps({ $0.record(Int(tip.sequence)) === tip })
    {
      site.violation("goes on elsewhere, and has not parked what it has, up to \(tip)")
    }
    // What it lacks becomes records.
    site.group.yieldCount += 1
    site.moves(to: next, floor: .max)
  }

  /// Where nothing was left to park, an attempt before has done so.
  private mutating func hasYielded(_ name: String, at site: SiteOracle) {
    if fork?.after === fork?.tail, required.contains(name) { return }
    require(name, fork?.tail, at: site)
  }

  private mutating func require(_ name: String, _ tip: Record?, at site: SiteOracle) {
    guard let known = parked[name], known.tip === tip else {
      let last = tip?.description ?? "nothing"
      site.violation("branch \(name) was never begun with \(last) as its last")
    }
    required.insert(name)
    requiredIn[name] = site.opening
    deleted.remove(name)
    bases[name] = Int(fork?.after?.sequence ?? 0)
  }

  // MARK: Crashes

  /// A start reads this.
  mutating func read(_ found: JournalState?, at site: SiteOracle) {
    let old = state
    state = found
    guard let old, let found else { return }
    if old.baseline == .copying, found.baseline != .copying, found.copy != old.copy,
      old.applied.sequence.rawValue == site.line.count
    {
      site.notErased()
    }
    if Key(old) == Key(found) { return }
    guard let before, before.key == Key(found) else {
      site.violation("its state file went from \(Key(old)) to \(Key(found)) by itself")
    }
    fork = before.fork
    required = before.required
    if before.changedLine { site.moves(to: before.tip, floor: before.floor) }
    self.before = nil
  }

  /// Somebody was told that a command was carried out: nothing takes that back.
  mutating func wasTold(_ outcome: String, at site: SiteOracle) {
    before = nil
    let isSo =
      switch outcome {
      // It may have committed itself meanwhile.
      case "pending": isOwner
      case "committed": isOwner && state?.fork == nil
      case "rolled-back": state?.fork == nil
      default: false
      }
    if !isSo { site.violation("a command is \(outcome), which the state file does not say") }
  }

  // MARK: Branches

  /// The site begins to park what it has.
  mutating func begins(_ name: String, at site: SiteOracle) {
    let tip =
      switch state?.fork?.stage {
      case .parking?, .yielding?, .jumping?: fork?.tail
      case .returning?: fork?.returned
      case .pending?, .reverting?, nil: site.tip
      }
    parked[name] = ParkedRecords(endingWith: tip, site.group)
    bases[name] = nil
  }

  /// How many records come before those of it that can be opened one by one; nil: only the last.
  func base(of name: String) -> Int? { bases[name] }

  mutating func deletes(_ name: String) { deleted.insert(name) }

  /// All that the site lists as parked, when it is open.
  ///
  /// - Parameter known: what was required when it was asked.
  mutating func lists(_ names: Set<String>, of known: Set<String>, at site: SiteOracle) {
    for name in deleted.subtracting(names).sorted() { forgets(name) }
    for name in names where parked[name] == nil {
      site.violation("lists what is parked as \(name), and has parked nothing under that name")
    }
    let owed = required.intersection(known).subtracting(deleted).filter {
      requiredIn[$0] ?? 0 < site.opening
    }
    if let lost = owed.subtracting(names).sorted().first {
      site.violation("what is parked as \(lost) is gone")
    }
  }

  /// Its group has ended it: it cannot be opened any more.
  mutating func ends(_ name: String) { required.remove(name) }

  /// It is deleted.
  mutating func forgets(_ name: String) {
    if let records = parked[name] { dropped.append(records) }
    required.remove(name)
    deleted.remove(name)
  }
}
