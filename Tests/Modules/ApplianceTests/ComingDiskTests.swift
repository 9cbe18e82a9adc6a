import BlockModel
import Journal
import Testing

@testable import Appliance

/// Proves that no disk comes to a group for which its state file has no number, or no place.
@Suite struct ComingDiskTests {
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
      for number in 0..<20 {
        try GroupOpening.note(comingDisk: "d\(number)", path, in: &state)
      }
    }
  }
}
