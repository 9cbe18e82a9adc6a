import BlockModel
import Configuration
import Journal
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that an owner becomes a follower with its disks as they are, that it knows what its own
/// records changed, and that a crash at any step leaves it an owner, or a follower.
@Suite(.scratch) struct GroupYieldingTests {
  private let scratch: ScratchDirectory
  private let host: GroupHost
  private var folder: String { scratch.file("data/g") }

  init() throws {
    scratch = try ScratchDirectory()
    host = try protectedHost(scratch)
    try host.serve()
  }

  /// Writes a page of the disk; returns the record.
  private func write(page: UInt64) throws -> JournalState.Mark {
    let group = try #require(host.group)
    let mark = group.loop.ask { done in
      var memory = [UInt8](repeating: 7, count: RecordHeader.byteCount + 4096)
      unsafe memory.withUnsafeMutableBytes { bytes in
        guard let record = bytes.baseAddress else { return }
        try? unsafe group.tap?.content(
          .write, DiskNumber(0), offset: page * 4096, length: 4096, now: group.readClock(),
          record: record)
        _ = group.commit()
      }
      done(group.journal.map { JournalState.Mark($0.stamped, $0.newestTimestamp) })
    }
    return try #require(mark.flatMap { $0 })
  }

  private func state() throws -> JournalState {
    try #require(try GroupOpening.presentState(folder))
  }

  private func put(_ change: (inout JournalState) -> Void) throws {
    let file = JournalStateFile(try File(opening: "\(folder)/state", .readWrite))
    guard case .state(var state, let generation) = try file.read() else {
      Issue.record("no state")
      return
    }
    change(&state)
    try file.write(state, generation: generation + 1)
  }

  private func opened(as role: GroupRole = .protected) throws -> GroupParts {
    var configuration = host.configuration
    configuration.role = role
    return try GroupOpening.open(
      configuration, dataDirectory: scratch.file("data"), origin: nil, IndexMemory()
    ) { _ in }
  }

  private func pages(_ pages: Range<UInt64>...) -> [DiskExtent] {
    pages.map {
      DiskExtent(
        DiskNumber(0), ByteRange(start: $0.lowerBound * 4096, end: $0.upperBound * 4096))
    }
  }

  private func expectFollowing(
    _ common: JournalState.Mark, lacking expected: [DiskExtent], _ comment: Comment? = nil
  ) throws {
    let state = try state()
    #expect(state.ownership.duty == .following && state.baseline == .reconciling, comment)
    #expect(state.applied == common && state.applyTarget == common, comment)
    #expect(state.ownerDurable.sequence == common.sequence, comment)
    #expect(state.gaps.map(\.from) == [common.timestamp], comment)
    let list = try #require(try LackingFile.read(in: folder))
    #expect(list.number == state.lack.list && list.common == common, comment)
    #expect(list.extents.extents == expected, comment)
    let used = try JournalRecovery.filesInUse(FolderStorage(existing: folder), notOf: nil)
    #expect(used.allSatisfy { $0.header == nil }, comment)
    // The configuration still says what it said.
    let parts = try opened()
    #expect(parts.duty == .following, comment)
    #expect(parts.journal?.appended == common.sequence, comment)
    #expect(parts.lacking == list, comment)
  }

  @Test func `an owner follows from the common record on, and knows what it changed since`() throws
  {
    _ = try write(page: 9)
    let common = try write(page: 8)
    for page: UInt64 in [3, 4, 200, 5, 3] { _ = try write(page: page) }
    host.end()
    #expect(try GroupOpening.yield(folder: folder, to: common) == .follows)
    try expectFollowing(common, lacking: pages(3..<6, 200..<201))
    // Once more it is one already.
    #expect(try GroupOpening.yield(folder: folder, to: common) == .follows)
    try expectFollowing(common, lacking: pages(3..<6, 200..<201))
  }

  @Test func `an owner without own records just follows`() throws {
    _ = try write(page: 9)
    let last = try write(page: 8)
    host.end()
    #expect(try GroupOpening.yield(folder: folder, to: last) == .follows)
    let state = try state()
    #expect(state.ownership.duty == .following && state.baseline == .complete)
    #expect(try LackingFile.read(in: folder) == nil)
    #expect(try opened().journal?.appended == last.sequence)
  }

  @Test func `a crash after any step leaves an owner that can yield again`() throws {
    let common = try write(page: 8)
    _ = try write(page: 3)
    host.end()
    let before = try state()
    #expect(try GroupOpening.yield(folder: folder, to: common) == .follows)
    // The state was not written: an owner, whose journal is erased.
    try put { $0 = before }
    #expect(try opened().duty == .owning)
    #expect(try GroupOpening.yield(folder: folder, to: common) == .follows)
    try expectFollowing(common, lacking: pages(3..<4), "the journal was erased")
    // An owner that was started meanwhile, and has written.
    try put { $0 = before }
    let again = try protectedHost(at: scratch)
    try again.serve()
    let group = try #require(again.group)
    #expect(group.loop.ask { $0(group.writeCheckpoint(tag: "more") != nil) } == true)
    again.end()
    #expect(try GroupOpening.yield(folder: folder, to: common) == .follows)
    try expectFollowing(common, lacking: pages(3..<4), "it went on meanwhile")
    // The list is of other records, and those that it would stand for are gone: it is the next
    // owner that has to know what they changed.
    try put { $0 = before }
    let earlier = JournalState.Mark(.none, .zero)
    #expect(try GroupOpening.yield(folder: folder, to: earlier) == .follows)
    let list = try #require(try LackingFile.read(in: folder))
    #expect(list.extents.isEmpty && list.exactAfter.sequence == before.applied.sequence)
  }

  @Test func `what is not applied, or no list can tell, changes nothing`() throws {
    let common = try write(page: 8)
    let last = try write(page: 3)
    host.end()
    let whole = try state()
    try put { $0.applied = common }
    var before = try state()
    #expect(throws: SiteError.self) { try GroupOpening.yield(folder: folder, to: common) }
    #expect(try state() == before)
    for change: (inout JournalState) -> Void in [
      { $0.disks[0].whole = nil }, { $0.disks[0].whole = last },
      {
        $0.disks.append(.init(number: DiskNumber(1), name: "new", byteCount: 4096, added: last))
        $0.nextDisk = 2
      },
    ] {
      try put {
        $0 = whole
        change(&$0)
      }
      before = try state()
      guard case .needsCopy = try GroupOpening.yield(folder: folder, to: common) else {
        Issue.record("it follows")
        return
      }
      #expect(try state() == before)
    }
    let later = JournalState.Mark(last.sequence.advanced(by: 1), last.timestamp)
    try put { $0 = whole }
    guard case .needsCopy = try GroupOpening.yield(folder: folder, to: later) else {
      Issue.record("it follows a record that it lacks")
      return
    }
  }

  @Test func `a follower whose list is lost lacks everything`() throws {
    let common = try write(page: 8)
    _ = try write(page: 3)
    host.end()
    #expect(try GroupOpening.yield(folder: folder, to: common) == .follows)
    try LackingFile.remove(in: folder)
    let parts = try opened()
    let state = try #require(parts.stateKeeper?.state)
    #expect(state.baseline == .reconciling && parts.lacking?.number == state.lack.list)
    #expect(parts.lacking?.extents == DiskExtents(whole: state.presentDisks))
    #expect(parts.lacking?.common == state.applied)
  }
}
