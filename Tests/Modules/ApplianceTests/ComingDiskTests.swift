import BlockModel
import Configuration
import Journal
import Storage
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that no disk comes to a group for which its state file has no number, or no place.
@Suite(.scratch) struct ComingDiskTests {
  private var state = JournalState(
    groupName: "g", group: GroupIdentifier(high: 1, low: 2),
    disks: [.init(name: "disk", byteCount: 4096)], baseline: .complete)

  @Test func `the last number is given, and no other after it`() throws {
    var state = state
    state.nextDisk = JournalState.diskNumberLimit - 1
    try GroupOpening.note(comingDisk: "last", "file:/a", in: &state)
    #expect(throws: SiteError.self) {
      try GroupOpening.note(comingDisk: "another", "file:/b", in: &state)
    }
  }

  @Test func `a disk that has a number already needs none`() throws {
    var state = state
    state.nextDisk = JournalState.diskNumberLimit
    try GroupOpening.note(comingDisk: "disk", "file:/a", in: &state)
    #expect(state.disks.count == 1)
  }

  @Test func `paths have the state file's place`() {
    var state = state
    let path = "file:/" + String(repeating: "p", count: 4000)
    #expect(throws: SiteError.self) {
      for number in 0..<80 {
        try GroupOpening.note(comingDisk: "d\(number)", path, in: &state)
      }
    }
  }

  /// A reload must not open it once more, nor say that it is missing.
  @Test func `a disk whose marker is being noted is there`() throws {
    let path = try ScratchDirectory().sparseFile("new.raw", size: 4096)
    let store = try DiskStore.open(.path(path), expectedSize: nil)
    var table = DiskTable([], waiting: [.init(name: "new", store: store, backing: "file:\(path)")])
    #expect(table.enter("new") != nil)
    #expect(table.names == ["new"] && table.waiting.isEmpty)
    table.entered(isNoted: false)
    #expect(table.names == ["new"] && table.waiting.count == 1)
    #expect(table.enter("new") != nil)
    table.entered(isNoted: true)
    #expect(table.names.isEmpty)
    store.disconnect()
  }

  /// Each start adds an incarnation; a site that has no place for it would never start again.
  @Test func `a group that took as many disks as it may can start as often as it likes`() throws {
    let file = JournalStateFile(try File(creating: ScratchDirectory().file("state")))
    var state = try full()
    for number in UInt64(1)...300 {
      state.isClean = false
      state.beginIncarnation(after: .init(SequenceNumber(number), .zero))
      state.noteGap(.init(from: .zero, to: Timestamp(rawValue: number)))
    }
    state.followers = (0..<ConfigurationLimits.peers).map {
      .init(site: "\($0)" + String(repeating: "s", count: 63), durable: .none)
    }
    try file.write(state, generation: 1)
    #expect(try file.read() == .state(state, generation: 1))
    #expect(ConfigurationLimits.peers <= JournalState.followerLimit)
  }

  /// Until its marker is in the order: a restart may find another path in the configuration.
  @Test func `a disk that has only its number is asked about with its path of now`() throws {
    var state = try full()
    let last = try #require(state.disks.last)
    try GroupOpening.note(comingDisk: last.name, last.backing, in: &state)
    #expect(throws: SiteError.self) {
      try GroupOpening.note(
        comingDisk: last.name, last.backing + String(repeating: "p", count: 1000), in: &state)
    }
  }

  @Test func `a follower's disks wait for numbers of their owner's`() throws {
    var state = state
    state.ownership = Ownership(beginning: .following)
    state.nextDisk = JournalState.diskNumberLimit
    try GroupOpening.note(comingDisk: "waits", "file:/a", in: &state)
    try GroupOpening.note(comingDisk: "waits-too", "file:/b", in: &state)
    #expect(state.nextDisk == JournalState.diskNumberLimit && state.disks.count == 3)
  }

  /// With as many disks as it may have.
  private func full() throws -> JournalState {
    let path = "file:/" + String(repeating: "p", count: 500)
    var (state, next) = (state, state)
    while true {
      do throws(SiteError) {
        try GroupOpening.note(comingDisk: "d\(next.disks.count)", path, in: &next)
      } catch { return state }
      state = next
    }
  }
}
