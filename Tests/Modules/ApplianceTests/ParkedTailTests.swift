import BlockModel
import Configuration
import Journal
import SystemIO
import TestSupport
import Testing
import Volume

@testable import Appliance

/// Proves that the records after an instant leave their group for a branch and come back whole,
/// wherever the instant lies and whenever a crash comes, and that both can be opened meanwhile.
@Suite(.scratch) struct ParkedTailTests {
  /// Where the last record to keep lies, of several segments.
  enum Place: CaseIterable, Sendable { case nowhere, first, middle, end, last }

  private func last(_ group: WrittenGroup, _ place: Place) -> Int {
    switch place {
    case .nowhere: 0
    case .first: group.firsts[2]
    case .middle: group.firsts[2] + 2
    case .end: group.firsts[3] - 1
    case .last: group.images.count - 2
    }
  }

  @Test(arguments: Place.allCases)
  func `a tail is parked, opened, and taken back`(_ place: Place) throws {
    let group = try WrittenGroup()
    let last = last(group, place)
    try group.park(after: last, as: "old")
    try group.own(after: last)
    try group.serve { host in
      let shown = try host.image(at: .latest)
      #expect(shown == group.images[last])
      try group.checkTail(of: host, "old", from: last)
      let tail = try host.branchGroup("old")
      #expect(try tail.image(at: .at(group.promised)) == group.lastImage)
      let group = try #require(host.group)
      for tag in ["one", "two"] {
        #expect(group.loop.ask { $0(group.writeCheckpoint(tag: tag) != nil) } == true)
      }
      // What was left of the divided segment comes free.
      try eventually("all up to the instant is applied") {
        group.loop.perform { group.startApply(underPressure: true) }
        return group.stateKeeper?.state.applied.sequence.rawValue == UInt64(last)
      }
    }
    try group.park(after: last, as: "new")
    try group.restore("old", after: last)
    try group.serve { host in
      for index in stride(from: last, to: group.images.count, by: 3) {
        #expect(try host.image(at: .at(group.instant(index))) == group.images[index])
      }
      #expect(try host.image(at: .at(group.promised)) == group.lastImage)
      let shown = try host.image(at: .latest)
      #expect(shown == group.lastImage)
      let new = try host.branchGroup("new")
      #expect(try new.image(at: .checkpoint(tag: "two")) == group.images[last])
      #expect(host.group?.branches.named("old") == nil)
    }
  }

  @Test(arguments: [Place.middle, .end])
  func `after a crash at any step the exchange is made again`(_ place: Place) throws {
    var cut = 0
    var isOver = false
    while !isOver {
      let group = try WrittenGroup()
      let last = last(group, place)
      isOver = try group.park(after: last, as: "old", upTo: cut)
      try group.park(after: last, as: "old")
      try group.own(after: last)
      try group.serve { host in
        let shown = try host.image(at: .latest)
        #expect(shown == group.images[last], "step \(cut)")
        try group.checkTail(of: host, "old", from: last)
        let group = try #require(host.group)
        #expect(group.loop.ask { $0(group.writeCheckpoint(tag: "one") != nil) } == true)
      }
      try group.park(after: last, as: "new")
      isOver = try group.restore("old", after: last, upTo: cut) && isOver
      try group.restore("old", after: last)
      try group.serve { host in
        let shown = try host.image(at: .latest)
        #expect(shown == group.lastImage, "step \(cut)")
        #expect(host.group?.branches.named("old") == nil)
      }
      cut += 1
    }
    #expect(cut > 8)
  }

  /// It would be taken for one that says that something was lost.
  @Test func `what a power cut has left of the file for what is saved is made again`() throws {
    let group = try WrittenGroup()
    let last = group.firsts[2] + 2
    try group.park(after: last, as: "old", upTo: 2)
    _ = try FolderStorage(existing: group.branch("old")).create(
      Branch.savedName, byteCount: 4096)
    try group.park(after: last, as: "old")
    try group.own(after: last)
    try group.serve { try group.checkTail(of: $0, "old", from: last) }
  }

  @Test func `apply goes past what is parked, and saves for it`() throws {
    let group = try WrittenGroup()
    let last = group.firsts[2] + 2
    try group.park(after: last, as: "old")
    try group.own(after: last)
    var image = group.images[last]
    for _ in 0..<2 {
      try group.serve { host in
        try group.checkTail(of: host, "old", from: last)
        image = try group.overrun(host, image)
        try group.checkTail(of: host, "old", from: last)
        #expect(host.group?.branches.named("old")?.saved.byteCount ?? 0 > 0)
        let shown = try host.image(at: .latest)
        #expect(shown == image)
      }
    }
  }

  /// The order that its group gets has its numbers and its times, and has nothing to do with it.
  @Test func `what is parked apart shows the disks as they were, whatever order follows`() throws {
    let group = try WrittenGroup(isAhead: true)
    let last = group.images.count - 1
    try group.apply()
    try group.park(after: last, as: "mine", isApart: true)
    try group.follow(from: last - 10)
    try group.own(after: last - 10)
    var image = group.lastImage
    for _ in 0..<2 {
      try group.serve { host in
        try group.checkTail(of: host, "mine", from: last)
        image = try group.overrun(host, image)
        try group.checkTail(of: host, "mine", from: last)
        let shown = try host.image(at: .latest)
        #expect(shown == image)
      }
    }
  }

  /// It is the successor of the last record by number and epoch.
  @Test func `a segment that an owner began and did not use does not hide what is taken back`()
    throws
  {
    let group = try WrittenGroup()
    let last = group.firsts[2] + 2
    try group.park(after: last, as: "old")
    try group.own(after: last)
    try group.beginSegment(after: last)
    try group.restore("old", after: last)
    try group.serve { host in
      let shown = try host.image(at: .latest)
      #expect(shown == group.lastImage)
    }
  }

  /// What comes back finds another name, and none that another part of it has.
  @Test func `files that an owner has made meanwhile have the names of parked ones`() throws {
    let group = try WrittenGroup()
    let last = group.firsts[1] + 2
    try group.park(after: last, as: "old")
    try group.own(after: last)
    let parked = try group.segmentFiles(in: group.branch("old"))
    try group.makeFiles(Array(parked.prefix(3)))
    try group.restore("old", after: last)
    try group.serve { host in
      let shown = try host.image(at: .latest)
      #expect(shown == group.lastImage)
    }
  }

  /// They would be overtaken by those that come back.
  @Test func `nothing is taken back where the group has records that are not parked`() throws {
    let group = try WrittenGroup()
    let last = group.firsts[2] + 2
    try group.park(after: last, as: "old")
    try group.own(after: last)
    try group.serve { host in
      let group = try #require(host.group)
      #expect(group.loop.ask { $0(group.writeCheckpoint(tag: "one") != nil) } == true)
    }
    let error = #expect(throws: SiteError.self) { try group.restore("old", after: last) }
    #expect(error?.description.contains("that are not parked") == true)
    #expect(try group.record("old") != nil)
    try group.park(after: last, as: "new")
    try group.restore("old", after: last)
    try group.serve { host in
      let shown = try host.image(at: .latest)
      #expect(shown == group.lastImage)
    }
  }

  /// What is written to a test counts against its limit, and needs files.
  @Test(arguments: [128 << 10, 1 << 30])
  func `what is parked takes no more than it took, and is held to no limit`(limit: UInt64) throws {
    let group = try WrittenGroup()
    let last = group.firsts[1] + 1
    try group.park(after: last, as: "old", byteLimit: limit)
    let files = { try Directory.names(in: group.branch("old")).count { !$0.hasSuffix(".index") } }
    let before = try files()
    try group.own(after: last)
    try group.serve { host in
      let tail = try host.branchGroup("old")
      for _ in 0..<10 {
        let isDone = tail.group?.loop.ask { done in
          tail.group?.tick()
          done(true)
        }
        #expect(isDone == true)
      }
      #expect(tail.group?.journal?.hasRoom(payloadByteCount: 16 << 10) == false)
      try group.checkTail(of: host, "old", from: last)
    }
    // Its lock.
    #expect(try files() == before + 1)
    #expect(try group.record("old")?.ending == nil)
  }

  /// A start would read all of it otherwise.
  @Test func `the segments keep their indexes`() throws {
    let group = try WrittenGroup()
    let last = group.firsts[1] + 1
    try group.park(after: last, as: "old")
    let names = Set(try Directory.names(in: group.branch("old")))
    let segments = names.filter { JournalRecovery<FolderStorage>.slot(named: $0) != nil }
      .filter { !$0.hasSuffix(".index") }
    #expect(segments.count == group.firsts.count - 1)
    let without = segments.filter { !names.contains(SidecarIndex.name(ofSegmentFile: $0)) }
    // The copy of the one that is divided, and the one that was not full.
    #expect(without.count == 2)
  }

  @Test(.enabled(if: Mount.isPossible, "needs root and mount(8)"))
  func `where the copy has no room nothing is parked, and the group opens as before`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "8m", in: scratch)
    let group = try WrittenGroup(in: mount.path)
    try group.fill(mount.path, leaving: 48 << 10)
    let error = #expect(throws: SiteError.self) {
      try group.park(after: group.firsts[1] + 1, as: "old")
    }
    #expect(error?.description.contains("copying segment-") == true)
    #expect(!Directory.exists(group.branch("old")))
    try Directory.remove("\(mount.path)/filler")
    try group.serve { host in
      let shown = try host.image(at: .latest)
      #expect(shown == group.lastImage)
    }
  }

  /// It could show other bytes from then on.
  @Test func `a test on records that are parked ends, one before them goes on`() throws {
    let group = try WrittenGroup()
    let last = group.firsts[1]
    let kept = try group.makeTest("kept", at: last - 1)
    let lost = try group.makeTest("lost", at: last + 2)
    try group.park(after: last, as: "old")
    #expect(try group.record("kept") == kept)
    #expect(try group.record("lost")?.ending?.contains("old") == true)
    #expect(lost.ending == nil)
    // What is parked is not given up for it.
    #expect(throws: SiteError.self) { try group.park(after: last - 3, as: "older") }
    #expect(!Directory.exists(group.branch("older")))
  }
}
