import BlockModel
import Journal
import Replication
import Storage
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that a site whose disks are being brought in step goes back to what it had before,
/// whatever has come over the disks since and wherever it is interrupted; and that it is brought in
/// step again after that.
@Suite(.scratch) struct RevertingTests {
  private static let branch = "before-gap-g"
  private let group: WrittenGroup
  private let end: Int
  private let applied: Int

  init() throws {
    group = try WrittenGroup(isAhead: true)
    end = group.images.count - 1
    applied = Int(try group.state().applied.sequence.rawValue)
  }

  /// It goes on behind records that its owner has dropped.
  private func jump() throws {
    let mark = JournalState.Mark(SequenceNumber(UInt64(end + 50)), group.instant(end + 50))
    let page = DiskExtent(DiskNumber(0), ByteRange(start: 0, length: 4096))
    let disk = JournalState.Disk(name: "disk", byteCount: UInt64(WrittenGroup.size))
    let point = JumpPoint(
      behind: mark, try group.state().lineage, disks: [disk], nextDisk: 1,
      after: SequenceNumber(UInt64(end)), lacking: try #require(DiskExtents(checking: [page])))
    try group.exchange { try $0.jump(to: point, of: "east", now: group.promised) }
  }

  /// More comes than the journal holds, and is applied: the disks are of no instant.
  private func overwrite() throws {
    let former = try group.state()
    _ = try group.state { $0.baseline = .complete }
    try group.own(after: Int(former.applied.sequence.rawValue))
    try group.serve { host in _ = try group.overrun(host, group.lastImage) }
    let saved = try #require(try group.record(former.lack.before))
    let branch = try Branch(saved, folder: group.branch(saved.name))
    #expect(branch.saved.byteCount > 0, "nothing was applied")
    _ = try group.state { state in
      state.baseline = .reconciling
      state.lack = former.lack
      state.ownership = former.ownership
      state.ownership.hear(of: 7)
    }
  }

  private func expectLatest(_ image: [UInt8]) throws {
    try group.serve { host in
      let shown = try host.image(at: .latest)
      #expect(shown == image)
    }
  }

  private func expectAsBefore(_ former: JournalState) throws {
    var state = try group.state()
    #expect(state.baseline == .complete && state.fork == nil && state.lack == .none)
    #expect(state.ownership.duty == .following && state.ownership.highestTerm >= 7)
    #expect(state.ownership.term == former.ownership.term)
    #expect(state.lineage == former.lineage && state.disks.map(\.name) == ["disk"])
    #expect(state.applied == former.applied && state.gaps == former.gaps)
    #expect(state.promise.through == former.promise.through)
    #expect(try GroupOpening.findRecords(group.folder) { _ in }.isEmpty)
    try group.serve { host in
      for index in applied...end {
        let shown = try host.image(at: .at(group.instant(index)))
        #expect(shown == group.images[index], "\(index)")
      }
    }
    try expectLatest(group.lastImage)
    state = try group.state()
    #expect(state.applied == former.applied)
  }

  @Test(arguments: [false, true])
  func `what it had is there again, also when other records are on the disks`(
    isOverwritten: Bool
  ) throws {
    let former = try group.state()
    try jump()
    if isOverwritten { try overwrite() } else { try hear() }
    try group.exchange { try $0.revert(now: group.promised) }
    try expectAsBefore(former)
  }

  private func hear() throws { _ = try group.state { $0.ownership.hear(of: 7) } }

  /// Each step is made by hand, and then the next opening goes on.
  @Test(arguments: 0...12) func `it is killed after any step`(step: Int) throws {
    let former = try group.state()
    try jump()
    try overwrite()
    try interrupt(after: step)
    try group.exchange { try $0.complete() }
    if step == 0 {
      #expect(try group.state().baseline == .reconciling, "nothing was begun")
      try group.exchange { try $0.revert(now: group.promised) }
    }
    try expectAsBefore(former)
  }

  private func interrupt(after count: Int) throws {
    let present = try group.state()
    let record = try #require(try group.record(present.lack.before))
    let content = try FormerContent(
      of: present, in: Branch(record, folder: group.branch(record.name)))
    let last = content.parked.applied
    var random = SystemEntropy()
    let fork = Fork(
      at: .init(last: last, tail: nil, end: last, byteCount: 0), instant: last.timestamp,
      began: group.promised, parked: record.name, epoch: present.epoch,
      identity: .random(using: &random))
    try group.exchange { try $0.keep(content.state) }
    if count == 0 { return }
    let state = try group.state { $0.reverts(at: fork) }
    if count == 1 { return }
    let store = try DiskStore.open(
      .path("\(group.folder)/../../disk.raw"), expectedSize: UInt64(WrittenGroup.size))
    // Of what was overwritten some is half on the disk.
    if count == 2 {
      return try unsafe [UInt8](repeating: 0xEE, count: 4096).withUnsafeBytes {
        try unsafe store.write($0, at: 0)
      }
    }
    try content.branch.saved.putBack(to: [store])
    if count == 3 { return }
    _ = try JournalRecovery(erasing: FolderStorage(existing: group.folder), state: state)
    let restoring = try Restoring(
      after: last, of: state, in: group.folder, from: record.name
    ) { _ in }
    for step in restoring.steps.prefix(count - 4) { try restoring.perform(step) }
  }

  @Test func `the group is taken over at an earlier instant of what it had`() throws {
    try jump()
    try overwrite()
    let instant = group.instant(end - 5)
    let tail = try group.exchange {
      try $0.failOver(
        from: "east", at: instant, parking: "later", commits: nil, now: group.promised)
    }
    #expect(tail.recordCount == 5)
    let state = try group.state()
    #expect(state.fork?.stage == .pending && state.ownership.duty == .owning)
    #expect(state.ownership.term == 8, "above all that were heard of")
    try expectLatest(group.images[end - 5])
    _ = try group.exchange { try $0.giveBack(parking: nil) }
    try expectLatest(group.lastImage)
  }

  @Test func `a former owner that has gone back gives way by the same list again`() throws {
    try group.apply()
    let (lineage, common) = (try group.state().lineage, group.mark(end - 9))
    let history = SiteHistory(lineage.holding(through: common.sequence), last: common)
    let rival = Rival(site: "south", claim: Claim(term: 9, isTaken: true), history: history)
    func giveWay() throws {
      try group.exchange { try $0.giveWay(to: rival, now: group.promised) }
      #expect(try group.state().baseline == .reconciling)
    }
    try giveWay()
    let first = try LackingFile.read(in: group.folder)
    try overwrite()
    try group.exchange { try $0.revert(now: group.promised) }
    let state = try group.state()
    #expect(state.applied == group.mark(end) && state.ownership.duty == .following)
    #expect(state.ownership.term == 2, "its own: the other owner is met as the first time")
    #expect(state.ownership.highestTerm == 9)
    try expectLatest(group.lastImage)
    try giveWay()
    #expect(try LackingFile.read(in: group.folder)?.extents == first?.extents)
  }

  @Test func `a second jump does not lose what was there before the first`() throws {
    try jump()
    let mark = JournalState.Mark(SequenceNumber(UInt64(end + 90)), group.instant(end + 90))
    let point = JumpPoint(
      behind: mark, try group.state().lineage, disks: try group.state().disks, nextDisk: 1,
      after: SequenceNumber(UInt64(end + 50)), lacking: DiskExtents())
    try group.exchange { try $0.jump(to: point, of: "east", now: group.promised) }
    #expect(try group.state().lack.before == Self.branch)
    try group.exchange { try $0.revert(now: group.promised) }
    try expectLatest(group.lastImage)
  }

  @Test func `what was deleted, has ended or is lost is not gone back to`() throws {
    try jump()
    let before = try group.state()
    let record = try #require(try group.record(Self.branch))
    func expectRefusal(_ reason: String) throws {
      let error = #expect(throws: SiteError.self) {
        _ = try group.exchange {
          try $0.failOver(
            from: "east", at: nil, parking: "later", commits: nil, now: group.promised)
        }
      }
      #expect(error?.refusal == .nothingBefore)
      #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
      #expect(try group.state() == before)
    }
    try record.end("its disk has left", inGroupOf: group.folder)
    try expectRefusal("its disk has left")
    try record.write(to: group.branch(Self.branch))
    try Directory.remove("\(group.branch(Self.branch))/\(Branch.savedName)")
    try expectRefusal("is lost")
    try Directory.remove("\(group.branch(Self.branch))/\(BranchRecord.fileName)")
    try expectRefusal("was deleted")
  }

  @Test func `an owner that moves the group here takes nothing back`() throws {
    try jump()
    #expect(throws: SiteError.self) {
      try group.exchange {
        _ = try $0.failOver(
          from: "east", at: nil, parking: "", commits: nil, forGood: true, isGiven: true,
          now: group.promised)
      }
    }
    #expect(try group.state().baseline == .reconciling)
  }
}
