import BlockModel
import Foundation
import Journal
import Replication
import SystemIO
import TestSupport
import Testing
import Volume

@testable import Appliance

/// Proves when a group is there for clients, peers and the rest of the site.
@Suite(.scratch) struct GroupHostTests {
  @Test func `nobody comes to a group before it is written down that it is in use`() throws {
    let scratch = try ScratchDirectory()
    let host = try protectedHost(scratch)
    host.start()
    if let refusal = host.firstRefusal() { throw refusal }
    #expect(host.prepared != nil && host.group == nil)
    try host.noteUse()
    #expect(host.group == nil)
    host.serves()
    #expect(host.group != nil)
    host.loop.start()
    host.release()
    host.stop()
    host.join()
    #expect(host.group == nil)
    host.loop.stop()
  }

  /// Fails the group that is open, and waits until it is another one that serves.
  private func fail(_ host: GroupHost, _ reason: String) throws -> Group {
    let before = try #require(host.group)
    // It is not opened again while its loop is busy.
    let isClosed = before.loop.ask { done in
      before.fail(reason)
      done(host.group == nil && host.closedReason == reason && host.closedSince != nil)
    }
    #expect(isClosed == true)
    try eventually("it is open again") { host.group != nil }
    let after = try #require(host.group)
    #expect(after !== before && host.closedSince == nil)
    return after
  }

  @Test func `a group that has failed is opened again, and told of`() throws {
    let host = try protectedHost(try ScratchDirectory())
    try host.serve()
    let again = try fail(host, "the disk is gone")
    let conditions: [Condition]? = again.loop.ask { done in
      again.noteConditions()
      done(again.conditions.entries.map(\.condition))
    }
    #expect(conditions?.map(\.code) == [.groupReopened])
    #expect(conditions?.first?.text.contains("the disk is gone") == true)
    host.end()
  }

  /// Whoever changes hands by an order would wait for ever, and every other command of the site.
  @Test func `what a group was to do for another owner does not outlive its failure`() throws {
    let host = try protectedHost(try ScratchDirectory())
    try host.serve()
    let before = try #require(host.group)
    let isHeld = host.hold(milliseconds: 60_000)
    #expect(isHeld)
    let rival = Rival(
      site: "west", claim: Claim(term: 9, isTaken: true),
      history: SiteHistory(Lineage(), last: .origin))
    before.loop.perform {
      host.giveWay(to: rival)
      before.fail("the disk is gone")
    }
    host.release()
    try eventually("it is open again") { host.group.map { $0 !== before } ?? false }
    let isChanged = Monitor(false)
    Thread.detachNewThread {
      let outcome = Result { () throws(SiteError) in try host.change("an order") { _ in } }
      if case .success = outcome { isChanged.update { $0 = true } }
    }
    try eventually("the order is carried out") { isChanged.withLock { $0 } }
    host.end()
  }

  /// The group is on its way to another process, and the state file is to be written: on a disk
  /// that is slow for as long as the answer says so.
  private func handOverSlowly(_ host: GroupHost, _ group: Group) throws -> Monitor<Bool> {
    let isSlow = Monitor(true)
    host.loop.perform { group.settle { _ in } }
    try eventually("it has settled") {
      host.loop.ask { $0(group.lifecycle.handover == .settled) } == true
    }
    group.keeper.submit { isSlow.wait { $0 ? nil : () } }
    host.loop.perform { group.pause { _ in } }
    try eventually("the state file is to be written") {
      host.loop.ask { $0(group.lifecycle.handover == .closing) } == true
    }
    return isSlow
  }

  /// The state file, on a disk that is slow, has yet to be told that the site is not given away.
  @Test func `a hand-over that is given up is undone before the next one begins`() throws {
    let host = try protectedHost(try ScratchDirectory())
    try host.serve()
    let group = try #require(host.group)
    let isSlow = try handOverSlowly(host, group)
    let (answers, undone) = (Monitor<[String]>([]), Monitor(0))
    host.loop.perform {
      group.resume { undone.update { $0 += 1 } }
      group.settle { problem in answers.update { $0.append(problem ?? "") } }
    }
    #expect(answers.wait { $0.first }.contains("try again"))
    // The next attempt is given up, too.
    host.loop.perform { group.resume { undone.update { $0 += 1 } } }
    isSlow.update { $0 = false }
    undone.wait { $0 == 2 ? () : nil }
    #expect(host.loop.ask { $0(group.lifecycle.handover == .none && group.failure == nil) } == true)
    host.end()
  }

  @Test func `what is noted of a branch waits once for a disk that is slow`() throws {
    let host = try protectedHost(try ScratchDirectory())
    try host.serve()
    let group = try #require(host.group)
    let branch = try branch(of: group)
    let isSlow = Monitor(true)
    group.keeper.submit { isSlow.wait { $0 ? nil : () } }
    host.loop.perform { group.end(branch, "it is enough") }
    Thread.sleep(forTimeInterval: 1.5)
    let waiting = group.keeper.waitingCount
    #expect(waiting > 0)
    Thread.sleep(forTimeInterval: 3.5)
    #expect(group.keeper.waitingCount <= waiting + 1)
    isSlow.update { $0 = false }
    try eventually("its end is noted") { branch.isEndNoted }
    host.end()
  }

  /// As `tapline test` makes one, of what the group shows now.
  private func branch(of group: Group) throws -> Branch {
    let bases = Monitor<Result<BranchBase, ExportRefusal>?>(nil)
    group.loop.perform {
      _ = group.writeCheckpoint(tag: "one")
      group.openBase(.latest) { result in bases.update { $0 = result } }
    }
    let base = try bases.wait { $0 }.get()
    var generator = SystemEntropy()
    let record = BranchRecord(
      name: "x", identity: .random(using: &generator), group: base.group,
      instant: base.view.instant, created: base.view.instant, expiry: nil, byteLimit: 1 << 20,
      segmentByteCount: 1 << 16, user: "", note: "",
      disks: base.disks.map {
        .init(number: $0.number, name: $0.name, byteCount: $0.store.byteCount)
      })
    let parent = try #require(group.journal?.storage.path)
    let folder = Branch.folder(record.name, ofGroupIn: parent)
    try SiteOverlay.createLasting(
      Branch.savedName, in: FolderStorage(path: folder), identity: record.identityBytes)
    let branch = try Branch(record, folder: folder)
    try record.write(to: folder)
    #expect(group.loop.ask { $0(group.add(branch, on: base)) } == true)
    return branch
  }

  /// They hold the group, and it the files of the journal: nothing could be unmounted.
  @Test func `who waits for an instant is told when its sync fails, and holds nothing`() throws {
    let scratch = try ScratchDirectory()
    let host = try protectedHost(scratch)
    try host.serve()
    let answers = Monitor<[String]>([])
    weak let before = host.group
    host.loop.perform { [group = host.group] in
      guard let group, let checkpoint = group.writeCheckpoint(tag: "one") else { return }
      breakDescriptors(of: scratch.file("data/g/segment-"))
      group.secure(checkpoint.timestamp) { problem in answers.update { $0.append(problem ?? "") } }
    }
    let answer = answers.wait(milliseconds: 60_000) { $0.first ?? ($1 ? "nothing" : nil) }
    #expect(answer?.contains("syncing the journal") == true)
    try eventually("it is open again") { host.group != nil }
    try eventually("nobody has the one before") { before == nil }
    host.end()
  }

  /// Neither syncs nor writes of files whose paths begin so reach them any more.
  private func breakDescriptors(of path: String) {
    var ends: [Int32] = [0, 0]
    unsafe pipe(&ends)
    for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? [] {
      let target = try? FileManager.default.destinationOfSymbolicLink(
        atPath: "/proc/self/fd/\(name)")
      if target?.hasPrefix(path) == true, let number = Int32(name) { dup2(ends[1], number) }
    }
    for end in ends { close(end) }
  }

  /// Each attempt that is refused meanwhile would wait for one more write to a disk that is slow.
  @Test func `a hand-over that is asked for again and again does not keep a group from going on`()
    throws
  {
    let host = try protectedHost(try ScratchDirectory())
    try host.serve()
    let group = try #require(host.group)
    let isSlow = try handOverSlowly(host, group)
    let (isSlower, undone) = (Monitor(true), Monitor(0))
    host.loop.perform {
      group.resume { undone.update { $0 += 1 } }
      group.keeper.submit { isSlower.wait { $0 ? nil : () } }
      group.settle { _ in }
      group.resume { undone.update { $0 += 1 } }
    }
    isSlow.update { $0 = false }
    let went = undone.wait(milliseconds: 60_000) { $0 == 2 ? true : $1 ? false : nil }
    #expect(went == true)
    #expect(host.loop.ask { $0(group.lifecycle.handover == .none) } == true)
    isSlower.update { $0 = false }
    host.end()
  }

  /// On a slow disk there would always be one more to fill, and the other process would give up.
  @Test func `on the way to another process no segment file is filled`() throws {
    let scratch = try ScratchDirectory()
    let host = try protectedHost(scratch)
    try host.serve()
    let group = try #require(host.group)
    func files() throws -> Set<String> {
      let names = try FileManager.default.contentsOfDirectory(atPath: scratch.file("data/g"))
      return Set(names.filter { $0.hasPrefix("segment-") && !$0.contains(".") })
    }
    try eventually("there are files for a burst") { try files().count >= 4 }
    let before = try files()
    host.loop.perform {
      group.settle { _ in }
      let tag = String(repeating: "x", count: 1000)
      for _ in 0..<2500 { _ = group.writeCheckpoint(tag: tag) }
    }
    try eventually("there are more files") { try files().count > before.count }
    Thread.sleep(forTimeInterval: 0.5)
    for name in try files().subtracting(before) {
      let file = try File(opening: scratch.file("data/g/\(name)"), .readOnly)
      #expect(try file.nextData(from: 0) == nil, "\(name) has data")
    }
    host.end()
  }

  @Test func `what is opened again is the group that was there, and no new one`() throws {
    let scratch = try ScratchDirectory()
    let host = try protectedHost(scratch)
    try host.serve()
    let group = try #require(host.group)
    let folder = scratch.file("data/g")
    group.loop.perform {
      group.fail("the disk is gone")
      try? FileManager.default.moveItem(atPath: folder, toPath: folder + ".away")
    }
    try eventually("it was tried") {
      host.openingStatus.failedAttempts > 0 || host.group != nil
    }
    #expect(host.group == nil && host.closedReason.contains("holds no journal now"))
    host.end()
  }

  /// Whoever reads the list makes the loop copy it when the next one comes.
  @Test func `however many checkpoints are made, the list of the newest stays short`() throws {
    let host = try protectedHost(try ScratchDirectory())
    try host.serve()
    let group = try #require(host.group)
    var longest = 0
    for _ in 0..<50 {
      let count: Int? = group.loop.ask { done in
        for _ in 0..<100 { _ = group.writeCheckpoint(tag: "") }
        group.tick()
        done(group.journal?.activeCheckpoints.count ?? 0)
      }
      longest = max(longest, try #require(count))
    }
    #expect(longest > 1000 && longest < 4096)
    #expect(group.loop.ask { $0(group.journal?.checkpointCount) } == 5000)
    host.end()
  }

  @Test func `what clients were told of is remembered from one opening to the next`() throws {
    let host = try protectedHost(try ScratchDirectory())
    try host.serve()
    let before = try #require(host.group)
    let identifier = before.stateKeeper?.state.group
    before.loop.perform {
      before.loss = AcknowledgedLoss(first: .init(3), last: .init(5), isTold: [false])
    }
    let again = try fail(host, "the disk is gone")
    #expect(again.loss == AcknowledgedLoss(first: .init(3), last: .init(5), isTold: [false]))
    let memory = host.memoryToHand { loop, group in loop.ask { $0(group.memory) } }
    #expect(memory?.identifier == identifier && memory?.loss == again.loss)
    host.end()
  }
}
