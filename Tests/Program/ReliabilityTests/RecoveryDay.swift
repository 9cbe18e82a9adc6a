import Foundation
import TestSupport

/// Two sites, whose people and faults do what they like with the ownership of a group, in any
/// order; and what must come of it. `lost` says what was not so.
final class RecoveryDay {
  enum Event: String, CaseIterable {
    case write, failOver, failOverToThen, commit, rollBack, move, kill, restart, cut, mend
    case lookBack, lookAtParked, discardParked, agreement
  }

  /// What was taken from the owner.
  private struct Claim {
    var line: Line
    /// So many writes are in both.
    let fork: Int
    let instant: UInt64
    var parked: String?
    var isCommitted = false
  }

  private struct Parked {
    let site: Int
    let name: String
    let images: [[UInt8]]
  }

  let pair: SitePair
  private let returning: CutProxy
  private var generator: SeededGenerator
  /// Number of the site that owns the group, until the other one's claim is committed and the two
  /// have met.
  private var owner = 0
  private var line = Line()
  /// So many of its writes have arrived at the other site.
  private var floor = 0
  private var claim: Claim?
  /// The owner has been seen to be fenced, and has met nobody since who could change that.
  private var isFenced = false
  /// The other site has all that the owner had when they last agreed.
  private var isWhole = true
  private var isCut = false
  private var parked: [Parked] = []
  /// At which nobody wrote.
  private var instants: [UInt64] = []
  private(set) var lost: [String] = []
  private(set) var refusals: [String] = []
  private(set) var counts: [String: Int] = [:]

  init(seed: UInt64) throws {
    generator = SeededGenerator(seed: seed)
    var proxy: CutProxy?
    let keeps = generator.chance(70)
    pair = try SitePair(disks: ["a": Line.size, "b": Line.size]) { east, west in
      let back = try CutProxy(to: east.linkPort)
      proxy = back
      west.configuration.groups[0].peer = (east.name, back.address)
      for site in [east, west] { site.configuration.groups[0].segmentSize = "1M" }
      if keeps { east.configuration.groups[0].history = "1h" }
    }
    returning = proxy!
    note()
  }

  deinit { returning.stop() }

  func happen(_ event: Event) throws {
    counts[event.rawValue, default: 0] += 1
    switch event {
    case .write: try write()
    case .failOver: try failOver(to: nil)
    case .failOverToThen: try failOver(to: instants.randomElement(using: &generator))
    case .commit: try commit()
    case .rollBack: try rollBack()
    case .move: try move()
    case .kill: try site(anyone).crashIfRunning()
    case .restart: try restart(anyone)
    case .cut:
      setCut(true)
    case .mend:
      setCut(false)
      if generator.chance(50) { try meet() }
    case .lookBack: try lookBack()
    case .lookAtParked: try parked.randomElement(using: &generator).map(expectKept)
    case .discardParked: try discardParked()
    case .agreement: try agree()
    }
    try observe()
  }

  // MARK: The sites

  private var other: Int { 1 - owner }
  /// The one that serves clients now.
  private var serving: Int { claim == nil ? owner : other }
  private var anyone: Int { generator.below(2) }
  private func site(_ number: Int) -> Site { number == 0 ? pair.east : pair.west }
  private func runs(_ number: Int) -> Bool { site(number).isRunning }
  private var areJoined: Bool { !isCut && runs(0) && runs(1) }

  private func command(_ number: Int, _ words: [String]) throws -> Finished {
    let result = try site(number).tapline(
      words + ["--control", site(number).configuration.control])
    if result.status != 0 { refusals.append("\(words): \(result.stderr)") }
    return result
  }

  /// While a client writes to the site, if any.
  private func command(
    _ number: Int, _ words: [String], whileWritingTo target: Int?
  ) throws -> Finished {
    guard let target else { return try command(number, words) }
    let words = words + ["--control", site(number).configuration.control]
    let child = try ChildProcess(try TaplineBinary.path(), words)
    try write(to: target, mustServe: false)
    guard case .exited(let status) = try child.wait() else { throw RigError("killed") }
    if status != 0 { refusals.append("\(words): \(child.stderr)") }
    return Finished(
      command: "\(words)", status: status, stdout: child.stdout, stderr: child.stderr)
  }

  private func group(_ number: Int) throws -> JSON {
    try TaplineContract.group("g", in: try site(number).status())
  }

  private func isOwning(_ number: Int) throws -> Bool {
    let group = try group(number)
    return group["duty"]?.string == "owning" && group["fenced"] == nil
      && group["closed"] == nil
  }

  private func isFollowing(_ number: Int) throws -> Bool {
    let group = try group(number)
    return group["duty"]?.string == "following" && group["closed"] == nil
  }

  private func lose(_ what: String) { lost.append(what) }

  private func note() { instants.append(quietInstant()) }

  private func setCut(_ isCut: Bool) {
    self.isCut = isCut
    for cable in [pair.cable, returning] { isCut ? cable.cut() : cable.join() }
  }

  private func restart(_ number: Int) throws {
    if runs(number) {
      if generator.chance(50) { try site(number).stop() } else { try site(number).crash() }
    }
    try site(number).start()
    if generator.chance(50) { try meet() }
  }

  /// What the owner says of its fence stands until it meets the other one again.
  private func observe() throws {
    guard runs(owner), let group = try? group(owner), group["closed"] == nil else { return }
    if group["duty"]?.string == "owning" { isFenced = group["fenced"] != nil }
  }

  private func images(_ number: Int, _ suffix: String = "") throws -> [[UInt8]] {
    try Line.disks.map { name in
      try eventually("\(name)\(suffix) is open at \(site(number).name)", within: .seconds(60)) {
        (try? site(number).connect(name + suffix)) != nil
      }
      return try site(number).image(name + suffix)
    }
  }

  // MARK: Writing

  private func write() throws {
    let number = claim != nil && generator.chance(30) ? owner : serving
    guard runs(number) else { return }
    let killed = generator.chance(15) ? anyone : nil
    if let killed {
      let (site, delay) = (site(killed), Double(generator.below(60)) / 1000)
      let ended = DispatchSemaphore(value: 0)
      let pid = site.processIdentifier
      Thread {
        Thread.sleep(forTimeInterval: delay)
        if let pid { kill(pid, SIGKILL) }
        ended.signal()
      }.start()
      try write(to: number, mustServe: false)
      ended.wait()
      try eventually("it has ended") { !site.isRunning }
    } else {
      try write(to: number, mustServe: number == serving && !isFenced)
    }
    if generator.chance(70) { note() }
  }

  private func write(to number: Int, mustServe: Bool) throws {
    let isOwners = number == owner
    var line = isOwners ? self.line : claim!.line
    defer { if isOwners { self.line = line } else { claim!.line = line } }
    do {
      if mustServe || line.doubtful != nil && number == serving && !isFenced {
        let images = try images(number)
        if !line.settle(showing: images) { lose("\(site(number).name) does not show its writes") }
      }
      if line.doubtful != nil { return }
      let clients = try Line.disks.map { try site(number).connect($0) }
      for _ in 0..<Int.random(in: 1...20, using: &generator) {
        let disk = generator.below(clients.count)
        let length = 512 * Int.random(in: 1...96, using: &generator)
        let offset = Int.random(in: 0...Line.size - length, using: &generator)
        let write = Line.Write(disk: disk, offset: offset, bytes: generator.bytes(length))
        line.doubtful = write
        do {
          try clients[disk].write(write.bytes, at: UInt64(offset), fua: generator.chance(10))
        } catch let failure as NBDClient.Failure where failure.errno == EPERM {
          line.doubtful = nil
          throw failure
        }
        line.doubtful = nil
        line.append(write)
        if isOwners, isFenced { lose("\(site(number).name) is fenced, and acknowledged a write") }
      }
    } catch let failure {
      if mustServe { lose("\(site(number).name) does not serve: \(failure)") }
    }
  }

  // MARK: Changing hands

  private func failOver(to instant: UInt64?) throws {
    guard claim == nil, runs(other) else { return }
    let words =
      ["failover", "g", "--json"] + (instant.map { ["--at", rfc3339($0)] } ?? [])
    let isBusy = runs(owner) && generator.chance(40)
    let result = try command(other, words, whileWritingTo: isBusy ? owner : nil)
    guard result.status == 0 else {
      if try group(other)["duty"]?.string != "following" { lose("refused, and done: \(result)") }
      if instant == nil, isWhole { lose("\(result)") }
      return
    }
    let status = try JSON(result.stdout)
    let wanted = instant.map { line.count(at: $0) }
    let shown = try images(other)
    let least = min(wanted ?? floor, floor)
    guard let fork = line.findBeginning(showing: shown, from: least), fork <= wanted ?? .max else {
      return lose("failover to \(instant.map(rfc3339) ?? "now"): not \(least) to \(wanted ?? -1)")
    }
    let name = status["parked_name"]?.string
    claim = Claim(
      line: line.beginning(fork), fork: fork, instant: instant ?? wallClockNanoseconds(),
      parked: name)
    guard let name else {
      if fork < floor { lose("nothing is parked, and there were \(floor) writes, not \(fork)") }
      return
    }
    let kept = try images(other, "@\(name)@latest")
    guard line.findBeginning(showing: kept, from: max(fork, floor)) != nil else {
      return lose("\(name) does not show what had arrived")
    }
    parked.append(Parked(site: other, name: name, images: kept))
  }

  private func commit() throws {
    guard let claim, !claim.isCommitted, runs(other) else { return }
    let result = try command(other, ["commit", "g"])
    if result.status != 0 { return lose("\(result)") }
    self.claim!.isCommitted = true
    if generator.chance(50) { try meet() }
  }

  private func rollBack() throws {
    guard var claim, !claim.isCommitted, runs(other) else { return }
    if claim.line.doubtful != nil, !claim.line.settle(showing: try images(other)) {
      lose("\(site(other).name) does not show its writes")
    }
    let discards = generator.chance(20)
    let result = try command(other, ["rollback", "g", "--json"] + (discards ? ["--discard"] : []))
    if result.status != 0 { return lose("\(result)") }
    parked.removeAll { $0.site == other && $0.name == claim.parked }
    let name = try JSON(result.stdout)["parked_name"]?.string
    if let name {
      let kept = try images(other, "@\(name)@latest")
      if !Line.areEqual(kept, claim.line.images()) { lose("\(name) is not what was written") }
      parked.append(Parked(site: other, name: name, images: kept))
    } else if !discards, claim.line.count > claim.fork {
      lose("what was written while it was pending is not parked")
    }
    self.claim = nil
    try expectFollowed()
    if generator.chance(50) { try meet() }
  }

  /// The other site shows a beginning of the order, with at least what it had.
  private func expectFollowed() throws {
    guard isWhole, runs(other) else { return }
    let shown = try images(other, "@latest")
    if line.findBeginning(showing: shown, from: floor) == nil {
      lose("\(site(other).name) does not show the \(floor) writes that it had")
    }
  }

  private func move() throws {
    guard claim == nil, areJoined, !isFenced, isWhole else { return }
    let isKilled = generator.chance(50)
    if isKilled {
      let words = ["move", "g", "--control", site(owner).configuration.control]
      let child = try ChildProcess(try TaplineBinary.path(), words)
      Thread.sleep(forTimeInterval: Double(generator.below(700)) / 1000)
      let victim = anyone
      try site(victim).crash()
      try site(victim).start()
      try child.wait()
    } else {
      _ = try command(owner, ["move", "g"], whileWritingTo: generator.chance(60) ? owner : nil)
    }
    let former = owner
    try eventually("one of the two owns the group", within: .seconds(90)) {
      for number in 0...1 where try isOwning(number) && isFollowing(1 - number) {
        owner = number
        return true
      }
      return false
    }
    counts[owner == former ? "stayed" : "moved", default: 0] += 1
    let shown = try images(owner)
    if !line.settle(showing: shown) {
      lose("\(site(owner).name) owns it now, and lacks of the \(line.count) writes")
    }
    if owner != former { floor = 0 }
    isWhole = owner == former
  }

  /// If they can: an owner whose group was taken for good follows, and one that was given it back
  /// goes on.
  private func meet() throws {
    guard areJoined else { return }
    guard let claim else {
      return try eventually("\(site(owner).name) owns again", within: .seconds(60)) {
        try isOwning(owner)
      }
    }
    guard claim.isCommitted else {
      return try eventually("\(site(owner).name) is fenced", within: .seconds(60)) {
        try group(owner)["fenced"] != nil
      }
    }
    try eventually("\(site(owner).name) follows", within: .seconds(60)) {
      try deleteWhatStands(at: owner)
      return try isFollowing(owner)
    }
    try adoptClaim(claim)
  }

  /// An owner cannot follow while something is parked that is built on what it would park now: it
  /// asks the operator to delete that.
  private func deleteWhatStands(at number: Int) throws {
    let refusal = site(number).log.split(separator: "\n").last { $0.contains("and it cannot") }
    guard let name = refusal?.firstMatch(of: /what is parked as ([^ ,]+)/)?.output.1,
      let index = parked.firstIndex(where: { $0.site == number && $0.name == name })
    else { return }
    try command(number, ["test", "stop", String(name), "--parked"]).checked()
    parked.remove(at: index)
  }

  private func adoptClaim(_ claim: Claim) throws {
    let former = owner
    if line.count > claim.fork {
      let names = try parkedNames(at: former).filter { name in
        !parked.contains { $0.site == former && $0.name == name }
      }
      var kept: Parked?
      for name in names {
        let shown = try images(former, "@\(name)@latest")
        if line.settle(showing: shown) {
          kept = Parked(site: former, name: name, images: shown)
        }
      }
      if let kept {
        parked.append(kept)
      } else {
        lose(
          "\(line.count - claim.fork) writes that only \(site(former).name) acknowledged are in "
            + "none of \(names)")
      }
    }
    (line, owner, floor) = (claim.line, other, 0)
    self.claim = nil
    isFenced = false
    isWhole = false
  }

  private func parkedNames(at number: Int) throws -> [String] {
    let list = try JSON(command(number, ["test", "list", "--json"]).checked().stdout)
    return (list["tests"] ?? list).elements.filter { $0["kind"]?.string == "parked" }
      .compactMap { $0["name"]?.string }
  }

  // MARK: Looking

  private func lookBack() throws {
    guard let instant = instants.randomElement(using: &generator), runs(serving) else { return }
    try lookBack(to: instant, at: serving, claim?.line ?? line)
    if claim == nil, isWhole, runs(other), line.count(at: instant) <= floor {
      try lookBack(to: instant, at: other, line)
    }
  }

  private func lookBack(to instant: UInt64, at number: Int, _ line: Line) throws {
    let at = rfc3339(instant)
    try eventually("\(at) opens at \(site(number).name)", within: .seconds(30)) {
      do {
        let shown = try Line.disks.map { try site(number).image("\($0)@\(at)") }
        counts["opened", default: 0] += 1
        if Line.areEqual(shown, line.images(line.count(at: instant))) { return true }
        var line = line
        let found = line.findBeginning(showing: shown).map { "\($0)" }
        lose(
          "\(site(number).name) at \(at): \(line.count(at: instant)) writes, and it shows "
            + (found ?? "no beginning"))
        return true
      } catch {
        counts["refused", default: 0] += 1
        return try !offers(at, at: number)
      }
    }
  }

  /// Whether the site tells people that the instant can be opened.
  private func offers(_ instant: String, at number: Int) throws -> Bool {
    let words = TaplineContract.timeline(group: "g", site: site(number).configuration)
    let timeline = try JSON(site(number).tapline(words).checked().stdout)
    guard let start = timeline["start"]?.string, let end = timeline["end"]?.string,
      start <= instant, instant <= end
    else { return false }
    return !(timeline["gaps"]?.elements ?? []).contains { gap in
      (gap["from"]?.string ?? "") <= instant && instant <= (gap["to"]?.string ?? "")
    }
  }

  private func expectKept(_ branch: Parked) throws {
    guard runs(branch.site) else { return }
    let shown = try images(branch.site, "@\(branch.name)@latest")
    if !Line.areEqual(shown, branch.images) { lose("\(branch.name) shows something else") }
  }

  private func discardParked() throws {
    guard let index = parked.indices.randomElement(using: &generator) else { return }
    let branch = parked[index]
    if claim?.parked == branch.name || !runs(branch.site) { return }
    let result = try command(branch.site, ["test", "stop", branch.name, "--parked"])
    if result.status != 0 { return lose("\(result)") }
    parked.remove(at: index)
  }

  /// Both sites run and are joined, and what was pending is decided: one owns, the other follows,
  /// by itself and without a copy.
  private func agree() throws {
    for number in [0, 1].shuffled(using: &generator) where !runs(number) {
      try site(number).start()
    }
    setCut(false)
    if let claim, !claim.isCommitted {
      if generator.chance(50) { try commit() } else { try rollBack() }
    }
    try meet()
    guard lost.isEmpty else { return }
    try eventually("the other site has everything", within: .seconds(90)) {
      try TaplineContract.isDrained(group: "g", status: site(owner).status())
    }
    let shown = try images(owner)
    guard line.settle(showing: shown) else {
      return lose("\(site(owner).name) does not show its \(line.count) writes")
    }
    if !Line.areEqual(try images(other, "@latest"), shown) {
      lose("\(site(other).name) shows something else than \(site(owner).name)")
    }
    (floor, isWhole) = (line.count, true)
    for branch in parked { try expectKept(branch) }
    let copies = (pair.east.allLogs + pair.west.allLogs).components(
      separatedBy: "the full copy is complete")
    if copies.count != 2 { lose("\(copies.count - 1) full copies") }
    note()
  }
}

extension Site {
  fileprivate func crashIfRunning() throws { if isRunning { try crash() } }
}
