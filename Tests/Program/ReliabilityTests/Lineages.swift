import Foundation
import TestSupport

/// The model of `RecoveryDay`: who holds a group, each with the order of writes that was
/// acknowledged there, and what is kept aside of orders that were given up. It asks the sites, and
/// `lost` says what is not as it must be:
///
/// - whoever takes a group over shows a beginning of an order that there was, with all that is
///   known to have arrived there;
/// - whoever gives it up keeps what it acknowledged and nobody else has, as it was at its end;
/// - nobody acknowledges a write once it has met another owner that stands;
/// - in the end one owns the group, shows its own order whole, and the others show the same.
struct Lineages {
  /// What a site was told to do last, or what may have been done.
  enum Intent {
    /// Nil: to the newest instant.
    case failOver(UInt64?, isForGood: Bool)
    case takeBack, commit
    case rollBack(discards: Bool)
    case move(to: Int)
  }

  struct Kept {
    let site: Int
    let name: String
    let images: [[UInt8]]
  }

  /// A site holds itself for the owner.
  private struct Tenure {
    var line: Line
    /// So many writes are of another's order.
    let fork: Int
    var isPending = false
    var parked: String?
    /// So many writes it had before.
    var floor = 0
  }

  private struct Move {
    let from: Int
    let to: Int
    var line: Line
  }

  private let rig: ThreeSites
  private(set) var lost: [String] = []
  private(set) var kept: [Kept] = []
  private var tenures = [0: Tenure(line: Line(), fork: 0)]
  /// Orders that were given up: who follows may have had them.
  private var past: [Line] = []
  /// So many writes of some order have arrived.
  private var floors: [Int]
  /// Has had everything, and nobody has taken the group over for good since.
  private var whole: [Bool]
  private var intents: [Int: Intent] = [:]
  private var moves: [Move] = []
  /// Of what each site says that it cannot: what was seen to.
  private var heard: [Int]

  init(_ rig: ThreeSites) {
    self.rig = rig
    floors = rig.all.map { _ in 0 }
    whole = rig.all.map { _ in true }
    heard = floors
  }

  mutating func lose(_ what: String) { lost.append(what) }

  func holds(_ site: Int) -> Bool { tenures[site] != nil }
  func isPending(_ site: Int) -> Bool { tenures[site]?.isPending == true }
  func isWhole(_ site: Int) -> Bool { whole[site] }
  /// Nobody else holds itself for the owner.
  var isAlone: Bool { tenures.count == 1 }
  func isWayBack(_ branch: Kept) -> Bool { tenures[branch.site]?.parked == branch.name }

  private func name(_ site: Int) -> String { rig.sites[site].name }

  mutating func intend(_ intent: Intent, at site: Int) {
    intents[site] = intent
    guard let line = tenures[site]?.line else { return }
    if case .move(let target) = intent {
      moves.append(Move(from: site, to: target, line: line))
    }
  }

  // MARK: What is shown

  private func shown(_ site: Int, _ suffix: String = "") -> [[UInt8]]? {
    try? Line.disks.map { try rig.sites[site].image($0 + suffix) }
  }

  private func images(_ site: Int, _ suffix: String = "") throws -> [[UInt8]] {
    var found: [[UInt8]]?
    try eventually("DISK\(suffix) is open at \(name(site))", within: .seconds(60)) {
      found = shown(site, suffix)
      return found != nil
    }
    return found!
  }

  /// Whether it was answered is to be seen before what the site shows is gone.
  mutating func settle(_ site: Int) throws {
    guard tenures[site]?.line.doubtful != nil else { return }
    let shown = try images(site)
    if tenures[site]?.line.settle(showing: shown) != true {
      lose("\(name(site)) does not show its writes")
    }
  }

  /// The longest beginning of any order that is shown; those that stand first.
  private mutating func beginning(
    showing images: [[UInt8]], from floor: Int, through limit: (Line) -> Int = { _ in .max }
  ) -> Line? {
    var found: Line?
    func look(_ line: inout Line) {
      guard let count = line.findBeginning(showing: images, from: min(floor, limit(line))),
        count <= limit(line), found.map({ count > $0.count }) ?? true
      else { return }
      found = line.beginning(count)
    }
    for site in tenures.keys.sorted() { look(&tenures[site]!.line) }
    for index in past.indices { look(&past[index]) }
    return found
  }

  // MARK: Writing

  /// - Parameter mustServe: nothing else happens meanwhile.
  mutating func write(
    to site: Int, _ generator: inout SeededGenerator, mustServe: Bool
  ) throws {
    guard var line = tenures[site]?.line else { return }
    defer { tenures[site]?.line = line }
    let said = try? rig.saying(site)
    let serves = mustServe && isAlone && said?.isOwning == true && said?.fence == nil
    let isStopped =
      mustServe
      && tenures.keys.contains { $0 != site && said?.fence?.hasPrefix("site \(name($0)) ") == true }
    do {
      if serves {
        if !line.settle(showing: try images(site)) {
          lose("\(name(site)) does not show its \(line.count) writes")
        }
      } else if line.doubtful != nil {
        guard let shown = shown(site), line.settle(showing: shown) else { return }
      }
      let clients = try Line.disks.map { try rig.sites[site].connect($0) }
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
        if case .move? = intents[site] { forgetMove(from: site) }
        if isStopped { lose("\(name(site)) acknowledged a write: \(said?.fence ?? "")") }
      }
      if generator.chance(50) { for client in clients { try client.flush() } }
    } catch let failure {
      if serves { lose("\(name(site)) does not serve: \(failure)") }
    }
  }

  // MARK: What a site says

  /// Follows it, and looks whether what it has done was right. The site runs.
  mutating func observe(_ site: Int) throws {
    var found: ThreeSites.Saying?
    do {
      try eventually("the group is open", within: .seconds(60)) {
        found = try rig.saying(site)
        return found != nil
      }
    } catch { throw RigError("\(error) at \(name(site)): \(try rig.group(site))") }
    let said = found!
    switch (tenures[site], said.isOwning) {
    case (nil, false): break
    case (nil, true): try tookOver(site, said)
    case (let tenure?, false):
      // It may have given way at once.
      if case .commit? = intents[site], tenure.isPending { committed(site) }
      if isPending(site) { try rolledBack(site, tenure) } else { try gaveWay(site, tenure) }
    case (let tenure?, true):
      if tenure.isPending, !said.isPending { committed(site) }
      if !tenure.isPending, said.isPending { lose("\(name(site)) is pending again") }
    }
  }

  private mutating func tookOver(_ site: Int, _ said: ThreeSites.Saying) throws {
    let shown = try images(site)
    if !said.isPending, let index = moves.firstIndex(where: { $0.to == site }) {
      var line = moves[index].line
      if line.settle(showing: shown) { return moved(moves[index].from, to: site, line) }
    }
    guard case .failOver(let instant, _)? = intents[site] else {
      let move = moves.first { $0.to == site }
      return lose(
        "\(name(site)) owns the group, and nobody told it to"
          + (move.map { ", or lacks of the \($0.line.count) writes of \(name($0.from))" } ?? ""))
    }
    let floor = floors[site]
    let limit = { (line: Line) in instant.map { line.count(at: $0) } ?? .max }
    guard let line = beginning(showing: shown, from: floor, through: limit) else {
      return lose(
        "\(name(site)) failed over to \(instant.map(rfc3339) ?? "now"): not \(floor) writes")
    }
    tenures[site] = Tenure(
      line: line, fork: line.count, isPending: true, parked: said.parked, floor: floor)
    if !said.isPending { committed(site) }
    // Also one that is committed already may have parked something.
    let names = try said.isPending ? [said.parked].compactMap(\.self) : newNames(site)
    var hasParked = line.count >= floor
    for name in names {
      let images = try images(site, "@\(name)@latest")
      let isWhole = beginning(showing: images, from: max(floor, line.count)) != nil
      hasParked = hasParked || isWhole
      // Else it is of an earlier change of owner.
      if !isWhole, said.isPending || beginning(showing: images, from: 0) == nil {
        lose("\(name) at \(self.name(site)) does not show what had arrived")
      }
      kept.append(Kept(site: site, name: name, images: images))
    }
    if !hasParked {
      lose("\(name(site)) has parked nothing, and had \(floor) writes, not \(line.count)")
    }
  }

  /// It was refused, or the owner goes on.
  mutating func forgetMove(from site: Int) { moves.removeAll { $0.from == site } }

  private mutating func moved(_ former: Int, to site: Int, _ line: Line) {
    moves.removeAll { $0.from == former }
    tenures[site] = Tenure(line: line, fork: line.count)
    whole = rig.all.map { _ in false }
  }

  private mutating func committed(_ site: Int) {
    switch intents[site] {
    case .commit, .failOver(_, isForGood: true): break
    default: lose("\(name(site)) has committed itself")
    }
    tenures[site]?.isPending = false
    let fork = tenures[site]?.fork ?? 0
    for other in rig.all { (floors[other], whole[other]) = (min(floors[other], fork), false) }
  }

  private mutating func rolledBack(_ site: Int, _ tenure: Tenure) throws {
    tenures[site] = nil
    guard case .rollBack(let discards)? = intents[site] else {
      return lose("\(name(site)) has rolled back, and nobody told it to")
    }
    var line = tenure.line
    kept.removeAll { $0.site == site && $0.name == tenure.parked }
    let name = try keep(&line, of: site)
    if name == nil, !discards, line.count > tenure.fork {
      lose("what was written at \(self.name(site)) while it was pending is not parked")
    }
    past.append(line)
    floors[site] = tenure.floor
    guard isAlone, whole[site] else { return }
    let images = try images(site, "@latest")
    if beginning(showing: images, from: tenure.floor) == nil {
      lose("\(self.name(site)) does not show the \(tenure.floor) writes that it had")
    }
  }

  private mutating func gaveWay(_ site: Int, _ tenure: Tenure) throws {
    if let move = moves.first(where: { $0.from == site }), tenures[move.to] == nil {
      if rig.sites[move.to].isRunning {
        try observe(move.to)
      } else if isAlone {
        moved(site, to: move.to, move.line)
      }
    }
    tenures[site] = nil
    if tenures.isEmpty { lose("\(name(site)) has given way, and to nobody") }
    var line = tenure.line
    let isElsewhere = tenures.values.contains { $0.line.common(with: line) == line.count }
    let name = isElsewhere && line.doubtful == nil ? "" : try keep(&line, of: site)
    if name == nil, !isElsewhere {
      lose(
        "of the \(line.count) writes that \(self.name(site)) acknowledged there is nothing parked; "
          + "others have \(tenures.values.map { $0.line.common(with: line) })")
    }
    past.append(line)
    (floors[site], whole[site]) = (0, false)
  }

  /// The branch that shows the end of the order, which is settled by that; it is kept from now on.
  private mutating func keep(_ line: inout Line, of site: Int) throws -> String? {
    for name in try newNames(site) {
      let images = try images(site, "@\(name)@latest")
      guard line.settle(showing: images) else { continue }
      kept.append(Kept(site: site, name: name, images: images))
      return name
    }
    line.doubtful = nil
    return nil
  }

  private func newNames(_ site: Int) throws -> [String] {
    let known = kept.filter { $0.site == site }.map(\.name)
    return try rig.parkedNames(site).filter { !known.contains($0) }
  }

  // MARK: Looking

  mutating func expect(_ branch: Kept) throws {
    let shown = try images(branch.site, "@\(branch.name)@latest")
    if !Line.areEqual(shown, branch.images) {
      lose("\(branch.name) at \(name(branch.site)) shows something else")
    }
  }

  mutating func delete(_ branch: Kept) throws {
    let result = try rig.command(branch.site, ["test", "stop", branch.name, "--parked"])
    if result.status != 0 { return lose("\(result)") }
    kept.removeAll { $0.site == branch.site && $0.name == branch.name }
  }

  mutating func lookBack(
    to instant: UInt64, at site: Int, _ counts: inout [String: Int]
  ) throws {
    let line: Line
    if let tenure = tenures[site] {
      line = tenure.line
    } else {
      guard isAlone, whole[site], let owners = tenures.values.first?.line,
        owners.count(at: instant) <= floors[site]
      else { return }
      line = owners
    }
    if line.doubtful != nil { return }
    let at = rfc3339(instant)
    var found: [[UInt8]]?
    try eventually("\(at) opens at \(name(site)), or is not offered", within: .seconds(30)) {
      found = shown(site, "@\(at)")
      return try found != nil || !offers(at, at: site)
    }
    counts[found == nil ? "refused" : "opened", default: 0] += 1
    guard let found, !Line.areEqual(found, line.images(line.count(at: instant))) else { return }
    let count = beginning(showing: found, from: 0)?.count
    lose(
      "\(name(site)) at \(at) shows \(count.map { "\($0)" } ?? "no beginning"), not "
        + "\(line.count(at: instant)) writes")
  }

  /// Whether the site tells people that the instant can be opened.
  private func offers(_ instant: String, at site: Int) throws -> Bool {
    let words = TaplineContract.timeline(group: "g", site: rig.sites[site].configuration)
    let timeline = try JSON(rig.sites[site].tapline(words).checked().stdout)
    guard let start = timeline["start"]?.string, let end = timeline["end"]?.string,
      start <= instant, instant <= end
    else { return false }
    return !(timeline["gaps"]?.elements ?? []).contains { gap in
      (gap["from"]?.string ?? "") <= instant && instant <= (gap["to"]?.string ?? "")
    }
  }

  // MARK: In the end

  /// All run and are joined, and nothing is pending. Who owns the group.
  mutating func agree(_ counts: inout [String: Int]) throws -> Int {
    try expectOneOwner(&counts)
    guard let owner = tenures.keys.first, lost.isEmpty else { return 0 }
    try eventually("all have what \(name(owner)) has", within: .seconds(120)) {
      for site in rig.all { try mend(site, &counts) }
      return try rig.haveAll(of: owner)
    }
    let shown = try images(owner)
    if tenures[owner]?.line.settle(showing: shown) != true {
      lose("\(name(owner)) does not show its \(tenures[owner]?.line.count ?? 0) writes")
    }
    for site in rig.all where site != owner {
      if !Line.areEqual(try images(site, "@latest"), shown) {
        lose("\(name(site)) shows something else than \(name(owner))")
      }
    }
    for branch in kept { try expect(branch) }
    for site in rig.all {
      for name in try newNames(site) {
        let images = try images(site, "@\(name)@latest")
        if beginning(showing: images, from: 0) == nil {
          lose("\(name) at \(self.name(site)) shows nothing that there was")
        }
        kept.append(Kept(site: site, name: name, images: images))
      }
    }
    floors = rig.all.map { _ in tenures[owner]?.line.count ?? 0 }
    whole = rig.all.map { _ in true }
    moves = []
    return owner
  }

  private mutating func expectOneOwner(_ counts: inout [String: Int]) throws {
    let end = ContinuousClock.now + .seconds(120)
    while true {
      for site in rig.all {
        try observe(site)
        try mend(site, &counts)
      }
      let said = try rig.all.compactMap { try rig.saying($0) }
      let isOne = said.filter(\.isOwning).count == 1 && said.allSatisfy { $0.fence == nil }
      if said.count == rig.all.count, isOne, tenures.count == 1 { return }
      if ContinuousClock.now > end {
        let groups = try rig.all.map { "\(name($0)): \(try rig.group($0))" }
        return lose("they do not agree: \(groups)")
      }
      Thread.sleep(forTimeInterval: 0.02)
    }
  }

  /// A site that cannot follow without an operator says what he is to do.
  private mutating func mend(_ site: Int, _ counts: inout [String: Int]) throws {
    let refusals = rig.sites[site].allLogs.split(separator: "\n").filter {
      $0.contains("and it cannot, which is tried again") || $0.contains("must be copied anew at")
    }
    guard refusals.count > heard[site], let refusal = refusals.last else { return }
    heard[site] = refusals.count
    let parked = refusal.firstMatch(of: /what is parked as ([^ ,]+)|--parked`\): ([^ ,]+)/)?.output
    if let name = (parked?.1 ?? parked?.2)?.description {
      guard try rig.parkedNames(site).contains(name) else { return }
      try eventually("\(self.name(site)) says that it cannot follow for \(name)") {
        let conditions = try rig.group(site)["conditions"]?.elements ?? []
        return conditions.contains {
          $0["code"]?.string == "cannot-follow" && $0["text"]?.string?.contains(name) == true
        }
      }
      counts["deleted", default: 0] += 1
      let known = kept.first { $0.site == site && $0.name == name }
      if let known { try expect(known) }
      try delete(known ?? Kept(site: site, name: name, images: []))
    } else if refusal.contains("without a full copy") {
      counts["copied", default: 0] += 1
      counts["copied: \(refusal.split(separator: ": ").suffix(1)[0].prefix(90))", default: 0] += 1
      try beginAnew(site)
    } else if refusal.contains("a step of apply has begun")
      || refusal.contains("is owned by a higher term")
    {
      // It passes.
    } else {
      lose("\(name(site)) cannot follow, and says nothing to do: \(refusal)")
    }
  }

  /// As docs/recover.md tells of a site that needs a full copy.
  private mutating func beginAnew(_ site: Int) throws {
    if tenures[site] != nil {
      let shown = try images(site)
      if tenures[site]?.line.settle(showing: shown) != true {
        lose("\(name(site)) does not show what it acknowledged any more")
      }
    }
    for branch in kept where branch.site == site { try expect(branch) }
    let daemon = rig.sites[site]
    try daemon.stop()
    let folder = "\(daemon.configuration.data)/g"
    try FileManager.default.moveItem(
      atPath: folder, toPath: "\(folder)-evidence-\(heard[site])")
    daemon.configuration.groups[0].role = .recovery
    try daemon.start()
    if let tenure = tenures.removeValue(forKey: site) { past.append(tenure.line) }
    kept.removeAll { $0.site == site }
    (floors[site], whole[site]) = (0, false)
  }
}
