import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that whoever asks for the status of groups gets it as it is now, and of a loop that hangs
/// what it said last, in a time that all loops have together.
@Suite(.scratch) struct GroupSnapshotTests {
  private func codes(_ status: GroupStatus) -> [String] { (status.conditions ?? []).map(\.code) }

  @Test func `a loop that hangs is told, with what is known`() throws {
    let host = try protectedHost(try ScratchDirectory())
    try host.open()
    let group = try #require(host.group)
    // Its loop does not run yet.
    let silent = try #require(Group.statuses(of: [group, group], milliseconds: 50).first)
    #expect(codes(silent) == ["group-unanswered"] && silent.disks.isEmpty)

    host.loop.start()
    host.loop.post { group.begin() }
    host.release()
    let before = try #require(Group.statuses(of: [group], milliseconds: 60_000).first)
    #expect(!codes(before).contains("group-unanswered") && before.disks.count == 1)

    let hang = Monitor<(begun: Bool, ends: Bool)>((false, false))
    host.loop.post {
      hang.update { $0.begun = true }
      hang.wait { hang -> Void? in hang.ends ? () : nil }
    }
    hang.wait { hang -> Void? in hang.begun ? () : nil }
    let hanging = try #require(Group.statuses(of: [group], milliseconds: 50).first)
    #expect(codes(hanging).first == "group-unanswered" && hanging.disks.count == 1)
    #expect(hanging.health.contains("what is shown is"), "\(hanging.health)")
    hang.update { $0.ends = true }
    let after = try #require(Group.statuses(of: [group], milliseconds: 60_000).first)
    #expect(!codes(after).contains("group-unanswered"))
    host.end()
  }

  @Test func `a reader waits for a newer snapshot, and no longer than it may`() {
    let publication = Publication<Int>()
    #expect(publication.latest == nil && publication.next(after: 0, milliseconds: 1) == nil)
    publication.publish(7)
    #expect(publication.next(after: 0, milliseconds: 0) == 7)
    #expect(publication.next(after: publication.edition, milliseconds: 1) == nil)
    #expect(publication.latest == 7)
  }
}
