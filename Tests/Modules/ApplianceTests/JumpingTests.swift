import BlockModel
import Journal
import Replication
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that a follower that goes on behind a gap keeps what it has, and lists all that it lacks
/// then: where anything of that is not known, everything.
@Suite(.scratch) struct JumpingTests {
  private let group: WrittenGroup
  private let end: Int
  private let disk = JournalState.Disk(name: "disk", byteCount: UInt64(WrittenGroup.size))

  init() throws {
    group = try WrittenGroup(isAhead: true)
    end = group.images.count - 1
  }

  /// The owner has dropped records that have changed the first page.
  private func point(behind last: Int, after first: Int? = nil) throws -> JumpPoint {
    let mark = JournalState.Mark(
      SequenceNumber(UInt64(last)),
      Timestamp(rawValue: group.instant(end).rawValue + UInt64(last)))
    let page = DiskExtent(DiskNumber(0), ByteRange(start: 0, length: 4096))
    let extents = try #require(DiskExtents(checking: [page]))
    return JumpPoint(
      behind: mark, try group.state().lineage, disks: [disk], nextDisk: 1,
      after: SequenceNumber(UInt64(first ?? end)), lacking: extents)
  }

  private func jump(to point: JumpPoint) throws {
    try group.exchange { try $0.jump(to: point, of: "east", now: group.promised) }
  }

  private func branches() throws -> [String] {
    try GroupOpening.findRecords(group.folder) { _ in }.map(\.name)
  }

  private func list() throws -> LackingList {
    let list = try #require(try LackingFile.read(in: group.folder))
    #expect(try group.state().lack.list == list.number)
    return list
  }

  @Test func `what is here is parked, and what is not applied is listed`() throws {
    let applied = try group.state().applied.sequence
    try jump(to: point(behind: end + 50))
    let state = try group.state()
    #expect(state.baseline == .reconciling && state.fork == nil)
    #expect(state.applied.sequence.rawValue == UInt64(end + 50))
    #expect(try group.record("before-gap-g")?.isApart == true)
    let listed = try list()
    #expect(listed.common == state.applied && listed.hasOwnersDisks)
    #expect(listed.extents.byteCount > 4096 && listed.extents != DiskExtents(whole: [disk]))
    try group.serve { host in
      let before = try host.branchGroup("before-gap-g")
      for index in Int(applied.rawValue) + 1...end {
        #expect(try before.image(at: .at(group.instant(index))) == group.images[index], "\(index)")
      }
    }
  }

  @Test func `a second jump adds to what is lacking`() throws {
    try jump(to: point(behind: end + 50))
    let first = try list().extents
    try jump(to: point(behind: end + 90, after: end + 50))
    let second = try list()
    #expect(second.common.sequence.rawValue == UInt64(end + 90))
    #expect(first.subtracting(second.extents).isEmpty)
    #expect(try branches() == ["before-gap-g"], "nothing could be opened in between")
  }

  /// What the next owner has parked, it would not be asked for again.
  @Test(arguments: [false, true])
  func `a list that does not tell all, or is lost, becomes one of everything`(isLost: Bool) throws {
    try jump(to: point(behind: end + 50))
    let known = try list()
    let forgotten = LackingList(
      number: known.number, group: known.group, common: known.common,
      exactAfter: .init(known.last.incarnation, known.common.sequence.advanced(by: 5)),
      last: known.last, lineage: known.lineage, disks: known.disks, nextDisk: known.nextDisk,
      extents: known.extents)
    if isLost {
      try LackingFile.remove(in: group.folder)
    } else {
      try LackingFile.write(forgotten, in: group.folder)
    }
    try jump(to: point(behind: end + 90, after: end + 50))
    #expect(try list().extents == DiskExtents(whole: [disk]))
  }

  @Test func `a map that begins behind what is here durably changes nothing`() throws {
    let before = try group.state()
    #expect(throws: SiteError.self) { try jump(to: point(behind: end + 50, after: end + 1)) }
    #expect(try group.state() == before)
    #expect(try branches() == [])
  }

  @Test func `branches that are built on what is parked show the same, apart from it`() throws {
    let last = end - 7
    _ = try group.makeTest("kept", at: last)
    let tail = try group.exchange {
      try $0.failOver(
        from: "east", at: group.instant(last), parking: "later", commits: nil, now: group.promised)
    }
    #expect(tail.recordCount == 7)
    var own: [UInt8] = []
    try group.serve { own = try group.write(5, by: $0, over: group.images[last]) }
    _ = try group.exchange { try $0.giveBack(parking: "written") }
    try jump(to: point(behind: end + 50))
    for name in ["kept", "written"] { #expect(try group.record(name)?.isApart == true) }
    try group.serve { host in
      let (kept, written) = (try host.branchGroup("kept"), try host.branchGroup("written"))
      let shown = [try kept.image(at: .latest), try written.image(at: .latest)]
      #expect(shown == [group.images[last], own])
    }
  }

  @Test func `a test whose limit is too small for that stays, and nothing changes`() throws {
    var test = try group.makeTest("kept", at: end)
    test.byteLimit = 4096
    try test.write(to: group.branch("kept"))
    let before = try group.state()
    let error = #expect(throws: SiteError.self) { try jump(to: point(behind: end + 50)) }
    #expect(error?.description.contains("`tapline test stop kept`") == true)
    #expect(try group.record("kept") == test)
    #expect(try group.state() == before)
  }

  /// Where no list can tell what it lacks; a third site is to hear of the term.
  @Test func `a former owner follows by the claim, with disks that have no numbers yet`() throws {
    try group.own(after: end)
    try group.exchange {
      try $0.jump(
        to: Claim(term: 9, isTaken: true), from: try $0.recover(), now: group.promised)
    }
    let state = try group.state()
    #expect(state.ownership.duty == .following && state.ownership.term == 9)
    #expect(state.ownership.isTaken && state.applied == .origin)
    #expect(try !list().hasOwnersDisks)
    #expect(try list().extents == DiskExtents(whole: state.presentDisks))
  }

  @Test func `of many gaps the last ones are kept`() throws {
    for round in 0..<11 {
      try jump(to: point(behind: end + 50 * (round + 1), after: round == 0 ? end : 0))
      _ = try group.state {
        $0.baseline = .complete
        $0.lack = .none
      }
      try LackingFile.remove(in: group.folder)
    }
    let names = (4...11).map { "before-gap-g-\($0)" }
    #expect(try branches().sorted() == names.sorted())
  }
}
