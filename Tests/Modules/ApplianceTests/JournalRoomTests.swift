import Journal
import Testing

@testable import Appliance

/// Proves in which order a full journal looks for room, and that nobody loses anything for what
/// comes anyway.
@Suite struct JournalRoomTests {
  struct Search: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let facts: RoomSearch.Facts
    let steps: [RoomSearch.Step]
  }

  @Test(arguments: [
    Search(
      testDescription: "a file is coming", facts: .init(fileIsComing: true, viewsHold: true),
      steps: [.createFile]),
    Search(
      testDescription: "room came free", facts: .init(hasRoom: true, viewsHold: true),
      steps: [.createFile, .free]),
    Search(
      testDescription: "room comes free", facts: .init(comesFree: true),
      steps: [.createFile, .free]),
    Search(
      testDescription: "there is no journal any more",
      facts: .init(viewsHold: true, hasFailed: true),
      steps: []),
    Search(
      testDescription: "views give way before a peer", facts: .init(viewsHold: true),
      steps: [.createFile, .free, .apply, .detachViews, .applyBehindViews]),
    Search(
      testDescription: "a peer gives way at last", facts: .init(),
      steps: [.createFile, .free, .apply, .dropFollower]),
  ])
  func `what is tried for room`(given: Search) {
    var search = RoomSearch()
    var steps: [RoomSearch.Step] = []
    while let step = search.next(given.facts) { steps.append(step) }
    #expect(steps == given.steps)
  }

  @Test func `a peer has a second, from when room was lacking first`() {
    var room = JournalRoom()
    let times: [UInt64] = [5_000_000_000, 5_999_999_999, 6_000_000_000]
    #expect(times.map { room.hasLackedLong(now: $0) } == [false, false, true])
    room.came()
    let isLong = room.hasLackedLong(now: 7_000_000_000)
    #expect(!isLong)
  }

  @Test func `a file that failed is tried again a second later`() {
    var room = JournalRoom()
    room.fileFailed("no space", now: 1_000_000_000)
    #expect(room.fileFailure == "no space" && !room.mayCreateFile(now: 1_999_999_999))
    #expect(room.mayCreateFile(now: 2_000_000_000))
    room.filesSuffice()
    #expect(room.fileFailure == nil)
  }

  @Test func `the reserve is filled to its upper mark, and looked at once a segment`() {
    let reserve = SegmentReserve(segmentLimit: 256, segmentByteCount: 1 << 20)
    var room = JournalRoom()
    let frees = [reserve.low, reserve.low - 1, reserve.low, reserve.high, reserve.low]
    let isWanted = frees.map { room.segmentsToFree(free: $0, reserve, opened: 8) != nil }
    #expect(isWanted == [false, true, true, false, false])
    #expect(!room.mustLook(opened: 8) && room.mustLook(opened: 9))
    room.looksAgain()
    #expect(room.mustLook(opened: 8))
  }

  @Test func `guests are slowed down in the last quarter, and never stopped by that`() {
    var room = JournalRoom()
    room.spend(1 << 20)
    #expect(room.allowance == .max)
    room.allow(left: 24, of: 100, least: 2)
    #expect(room.allowance == 2)
    room.allow(left: 640, of: 10_000, least: 2)
    #expect(room.allowance == 20)
    room.spend(15)
    room.spend(15)
    #expect(room.allowance <= 0)
    room.allow(left: 25, of: 100, least: 2)
    #expect(room.allowance == .max)
  }
}
