import Foundation
import TestSupport

/// Three sites, whose people and faults do what they like with the ownership of a group, in any
/// order; and what must come of it. `lost` says what was not so.
///
/// The model (`Lineages`) follows what each site says of its duty, and looks at each change of it
/// whether everything that was acknowledged is where it must be.
final class RecoveryDay {
  enum Event: String, CaseIterable {
    case write, failOver, failOverToThen, takeBack, commit, rollBack, move
    case kill, restart, handOver, reload, freeze, cut, isolate, mend
    case lookBack, lookAtParked, discardParked, agreement
  }

  let rig: ThreeSites
  private var generator: SeededGenerator
  private var model: Lineages
  /// It was stopped, and goes on after the next event.
  private var frozen: Int?
  /// At which nobody wrote.
  private var instants: [UInt64] = []
  private(set) var refusals: [String] = []
  private(set) var counts: [String: Int] = [:]
  /// What was done, for people.
  private(set) var trail: [String] = []

  var lost: [String] { model.lost }

  init(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let keeps = generator.chance(70)
    rig = try ThreeSites(disks: Line.disks, size: Line.size) { site in
      site.configuration.groups[0].segmentSize = "1M"
      if keeps || site.name != "east" { site.configuration.groups[0].history = "1h" }
    }
    model = Lineages(rig)
    self.generator = generator
    note()
  }

  func happen(_ event: Event) throws {
    counts[event.rawValue, default: 0] += 1
    trail.append(event.rawValue)
    switch event {
    case .write: try write()
    case .failOver: try failOver(to: nil)
    case .failOverToThen: try failOver(to: instants.randomElement(using: &generator))
    case .takeBack: try takeBack()
    case .commit: try commit()
    case .rollBack: try rollBack()
    case .move: try move()
    case .kill:
      let site = anyone
      say(site)
      if runs(site) { try rig.sites[site].crash() }
    case .restart: try restart(anyone)
    case .handOver: try handOver()
    case .reload: try reload()
    case .freeze: try freeze()
    case .cut: cut(anyone, isWhole: false)
    case .isolate: cut(anyone, isWhole: true)
    case .mend: mend()
    case .lookBack: try lookBack()
    case .lookAtParked: try lookAtParked()
    case .discardParked: try discardParked()
    case .agreement: try agree()
    }
    try observe()
  }

  // MARK: The sites

  private var anyone: Int { generator.below(rig.sites.count) }
  private func runs(_ site: Int) -> Bool { rig.sites[site].isRunning && frozen != site }
  private func name(_ site: Int) -> String { rig.sites[site].name }

  private func say(_ site: Int, _ words: String...) {
    trail[trail.count - 1] += " " + ([name(site)] + words).joined(separator: " ")
  }

  /// One that runs, and of which this is so.
  private func anyone(_ isSo: (Int) -> Bool) -> Int? {
    rig.all.filter { runs($0) && isSo($0) }.randomElement(using: &generator)
  }

  private func observe() throws {
    for site in rig.all.shuffled(using: &generator) where runs(site) { try model.observe(site) }
  }

  private func note() { instants.append(quietInstant()) }

  /// A client may write meanwhile, and any site be killed; whoever was killed may come back.
  private func command(_ site: Int, _ words: [String]) throws -> Finished {
    let child = try rig.begin(site, words)
    var killed: Int?
    if generator.chance(25) {
      killed = anyone
      Thread.sleep(forTimeInterval: Double(generator.below(250)) / 1000)
      if runs(killed!) { try rig.sites[killed!].crash() }
      say(killed!, "killed")
    } else if generator.chance(30), let owner = anyone({ model.holds($0) }) {
      try model.write(to: owner, &generator, mustServe: false)
    }
    guard case .exited(let status) = try child.wait() else { throw RigError("killed: \(words)") }
    if status != 0 {
      refusals.append("\(name(site)): \(words.joined(separator: " ")): \(child.stderr)")
      say(site, "refused")
    }
    if let killed, !rig.sites[killed].isRunning, generator.chance(70) || killed == site {
      try rig.sites[killed].start()
    }
    return Finished(
      command: "\(words)", status: status, stdout: child.stdout, stderr: child.stderr)
  }

  private func restart(_ site: Int) throws {
    if frozen == site { return }
    say(site)
    if runs(site) {
      if generator.chance(50) { try rig.sites[site].stop() } else { try rig.sites[site].crash() }
    }
    try rig.sites[site].start()
  }

  private func handOver() throws {
    guard let site = anyone({ _ in true }) else { return }
    say(site)
    try rig.sites[site].takeOver()
  }

  private func reload() throws {
    guard let site = anyone({ _ in true }) else { return }
    say(site)
    try rig.sites[site].reload().checked()
  }

  /// One of them answers nothing while something else happens.
  private func freeze() throws {
    guard let site = anyone({ _ in true }) else { return }
    say(site)
    rig.sites[site].signal(SIGSTOP)
    frozen = site
    let next = [Event.write, .failOver, .commit, .rollBack].randomElement(using: &generator)!
    defer {
      rig.sites[site].signal(SIGCONT)
      frozen = nil
    }
    try happen(next)
  }

  private func cut(_ site: Int, isWhole: Bool) {
    let others = rig.all.filter { $0 != site }
    let ends = isWhole ? others : [others.randomElement(using: &generator)!]
    for other in ends {
      say(site, name(other))
      rig.setCut(site, other, true)
    }
  }

  private func mend() {
    for one in rig.all {
      for other in rig.all where one < other && generator.chance(70) {
        rig.setCut(one, other, false)
      }
    }
  }

  // MARK: Writing

  private func write() throws {
    guard let site = anyone({ model.holds($0) }) else { return }
    say(site)
    var victim: Int?
    let ended = DispatchSemaphore(value: 0)
    if generator.chance(15) {
      victim = anyone
      let delay = Double(generator.below(60)) / 1000
      if let pid = rig.sites[victim!].processIdentifier, runs(victim!) {
        say(victim!, "killed")
        Thread {
          Thread.sleep(forTimeInterval: delay)
          kill(pid, SIGKILL)
          ended.signal()
        }.start()
      } else {
        victim = nil
      }
    }
    try model.write(to: site, &generator, mustServe: victim == nil)
    if let victim {
      ended.wait()
      try eventually("it has ended") { !rig.sites[victim].isRunning }
    }
    if generator.chance(70) { note() }
  }

  // MARK: Changing hands

  private func failOver(to instant: UInt64?) throws {
    guard let site = anyone({ !model.holds($0) }) else { return }
    let time = generator.chance(20) ? ["--commit", "now"] : []
    say(site, time.isEmpty ? "" : "now")
    let at = instant.map { ["--at", rfc3339($0)] } ?? []
    model.intend(.failOver(instant, isForGood: !time.isEmpty), at: site)
    let mustDo = instant == nil && model.isAlone && model.isWhole(site)
    let result = try command(site, ["failover", "g"] + at + time)
    if runs(site) { try model.observe(site) }
    if mustDo, result.status == 1, !model.holds(site), !result.stderr.contains("the reply") {
      model.lose("\(result)")
    }
  }

  /// At an owner that has stopped for another site.
  private func takeBack() throws {
    guard let site = anyone({ model.holds($0) }) else { return }
    let fence = try rig.saying(site)?.fence
    say(site, fence == nil ? "(no fence)" : "")
    model.intend(.takeBack, at: site)
    let result = try command(site, ["failover", "g"])
    if fence == nil, result.status == 0, try rig.saying(site)?.fence == nil, model.isAlone {
      model.lose("an owner that nobody fenced took the group back: \(result)")
    }
  }

  private func commit() throws {
    guard let site = anyone({ model.isPending($0) }) else { return }
    say(site)
    model.intend(.commit, at: site)
    let result = try command(site, ["commit", "g"])
    if result.status == 0, runs(site), try rig.saying(site)?.isPending == true {
      model.lose("not committed: \(result)")
    }
  }

  private func rollBack() throws {
    guard let site = anyone({ model.isPending($0) }) else { return }
    let discards = generator.chance(20)
    say(site, discards ? "discarding" : "")
    try model.settle(site)
    model.intend(.rollBack(discards: discards), at: site)
    let result = try command(site, ["rollback", "g"] + (discards ? ["--discard"] : []))
    if runs(site) { try model.observe(site) }
    if result.status == 0, model.holds(site) { model.lose("not rolled back: \(result)") }
  }

  private func move() throws {
    guard let site = anyone({ model.holds($0) && !model.isPending($0) }) else { return }
    let target = rig.all.filter { $0 != site }.randomElement(using: &generator)!
    say(site, name(target))
    model.intend(.move(to: target), at: site)
    let result = try command(site, ["move", "g", "--to", name(target)])
    counts[result.status == 0 ? "moved" : "stayed", default: 0] += 1
    let isRefused =
      result.status == 1 && !result.stderr.contains("the reply")
      && !result.stderr.contains("was asked to take it over")
    if isRefused { model.forgetMove(from: site) }
    if result.status == 0, runs(target) { try model.observe(target) }
  }

  // MARK: Looking

  private func lookBack() throws {
    guard let instant = instants.randomElement(using: &generator),
      let site = anyone({ _ in true })
    else { return }
    say(site)
    try model.lookBack(to: instant, at: site, &counts)
  }

  private func lookAtParked() throws {
    guard let branch = model.kept.filter({ runs($0.site) }).randomElement(using: &generator)
    else { return }
    say(branch.site, branch.name)
    try model.expect(branch)
  }

  private func discardParked() throws {
    guard let branch = model.kept.filter({ runs($0.site) }).randomElement(using: &generator),
      !model.isWayBack(branch)
    else { return }
    say(branch.site, branch.name)
    try model.delete(branch)
  }

  /// All run and are joined, and what was pending is decided: one owns, the others follow.
  private func agree() throws {
    for site in rig.all.shuffled(using: &generator) where !runs(site) {
      try rig.sites[site].start()
    }
    try observe()
    for site in rig.all.shuffled(using: &generator) where model.isPending(site) {
      let commits = generator.chance(50)
      try model.settle(site)
      model.intend(commits ? .commit : .rollBack(discards: false), at: site)
      say(site, commits ? "commits" : "rolls back")
      let result = try rig.command(site, [commits ? "commit" : "rollback", "g"])
      if result.status != 0 { model.lose("\(result)") }
      try model.observe(site)
    }
    for one in rig.all { for other in rig.all where one < other { rig.setCut(one, other, false) } }
    let owner = try model.agree(&counts)
    if lost.isEmpty { say(owner, "owns") }
    note()
  }
}
