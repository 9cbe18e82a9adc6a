import Appliance
import Testing

@testable import Control

/// Proves what the commands of a failover ask a site for, and what people read of the answers.
@Suite struct FailoverTextTests {
  @Test func `a failover, its commit and its rollback go over the control socket`() throws {
    let fixture = try ControlFixture()
    let request = FailoverRequest(at: "-1h", commit: .after(seconds: 3600), isDryRun: true)
    #expect(try fixture.client.failover(group: "shop", request) == SampleStatus.failover)
    #expect(try fixture.client.commit(group: "shop").state == "committed")
    let back = RollbackRequest(isDryRun: true, discards: true)
    #expect(try fixture.client.rollback(group: "shop", back).state == "rolled-back")
    let move = MoveRequest(to: "west", isDryRun: true)
    #expect(try fixture.client.move(group: "shop", move) == SampleStatus.move)
    #expect(
      fixture.site.failovers.withLock { $0 } == [
        .failover(request), .commit, .rollback(isDryRun: true, discards: true),
        .move(to: "west", isDryRun: true),
      ])
    #expect(throws: ControlError.self) {
      try fixture.client.failover(group: "other", FailoverRequest())
    }
  }

  @Test(arguments: ["failover", "commit", "rollback", "move"])
  func `each needs a group, and nothing else`(command: String) throws {
    let fixture = try ControlFixture()
    let client = try fixture.connect()
    try client.send("{\"command\":\"\(command)\"}\n")
    #expect(try client.receiveLine()?.contains("\(command) needs a group") == true)
    try client.send("{\"command\":\"\(command)\",\"group\":\"shop\"}\n")
    #expect(try client.receiveLine()?.contains(#""ok":true"#) == true)
    let asked = fixture.site.failovers.withLock { $0 }
    let expected: StandInSite.Asked =
      switch command {
      case "failover": .failover(FailoverRequest())
      case "commit": .commit
      case "move": .move(to: nil, isDryRun: false)
      default: .rollback(isDryRun: false, discards: false)
      }
    #expect(asked == [expected])
  }

  @Test func `the members of a request have the names that the page gives them`() throws {
    let request = ControlRequest(
      command: "failover", group: "shop",
      failover: FailoverRequest(
        at: "-1h", commit: .after(seconds: 60), user: "root", note: "fire", isDryRun: true))
    #expect(
      try ControlJSON.line(request) == """
        {"command":"failover","failover":{"at":"-1h","commit":"after","commit_seconds":60,\
        "dry_run":true,"note":"fire","user":"root"},"group":"shop"}
        """)
    let rollback = ControlRequest(
      command: "rollback", group: "shop",
      rollback: RollbackRequest(isDryRun: true, discards: true))
    #expect(
      try ControlJSON.line(rollback) == """
        {"command":"rollback","group":"shop","rollback":{"discard":true,"dry_run":true}}
        """)
  }

  @Test func `one that is pending says where to attach, what is lost and what to type`() {
    #expect(
      FailoverText.render(SampleStatus.failover) == """
        failover of shop at 2026-11-21T10:03:07.512Z: pending, term 3
          attach the machines here, to:
            shop-root
            shop-data
          parked as shop-1: 42 records, 1.0 MiB, over 5 m 3 s; opened as DISK@shop-1@latest
          lost at most: what east acknowledged after 2026-11-21T10:08:11Z
          tests have ended: drill, monday
          east is not connected, and goes on serving if it lives: see that its machines are off
          next: `tapline commit shop` to stay here, or `tapline rollback shop` to go back to east
          it is committed by itself at 2026-11-21T11:10:00Z

        """)
  }

  @Test func `one that is planned says that nothing is done`() {
    var planned = SampleStatus.failover
    planned.state = "planned"
    planned.peerConnected = true
    planned.endedTests = []
    #expect(
      FailoverText.render(planned) == """
        failover of shop at 2026-11-21T10:03:07.512Z: planned, and nothing is done
          would be served here: shop-root, shop-data
          would be parked as shop-1: 42 records, 1.0 MiB, over 5 m 3 s; opened as \
        DISK@shop-1@latest
          lost at most: what east acknowledged after 2026-11-21T10:08:11Z
          east is connected: it would refuse writes at once
          next: the same without --dry-run

        """)
  }

  @Test func `one that is committed says how to be rid of what is parked`() {
    var committed = SampleStatus.failover
    committed.state = "committed"
    committed.commitAt = nil
    let text = FailoverText.render(committed)
    #expect(text.contains(": committed, term 3\n"))
    #expect(text.contains("east is not connected: it follows by itself once it is"))
    #expect(text.hasSuffix("any more: `tapline test stop shop-1 --parked`\n"))
    #expect(!text.contains("rollback"))
    committed.parkedName = nil
    committed.parkedRecords = 0
    #expect(!FailoverText.render(committed).contains("parked"))
  }

  @Test func `a rollback says what becomes of what was written`() {
    var back = SampleStatus.failover
    back.state = "rolled-back"
    back.endedTests = []
    #expect(
      FailoverText.render(rollback: back) == """
        failover of shop at 2026-11-21T10:03:07.512Z: rolled back
          east is followed again from where that stopped, without a copy
          parked as shop-1: 42 records, 1.0 MiB, over 5 m 3 s; opened as DISK@shop-1@latest
          next: attach the machines at east

        """)
    back.parkedName = nil
    #expect(
      FailoverText.render(rollback: back).contains(
        "\n  discarded: 42 records, 1.0 MiB, over 5 m 3 s, written here\n"))
    back.parkedRecords = 0
    #expect(FailoverText.render(rollback: back).contains("nothing was written here meanwhile"))
    back.state = "planned"
    let planned = FailoverText.render(rollback: back)
    #expect(planned.contains("planned, and nothing is done"))
    #expect(planned.contains("east would be followed again"))
  }

  @Test func `a move says how long clients waited, and what to do`() {
    var move = SampleStatus.move
    let text = FailoverText.render(move)
    #expect(text.hasPrefix("shop is at west now; clients waited "))
    #expect(text.hasSuffix("attach the machines at west; this site follows\n"))
    move.state = "planned"
    #expect(FailoverText.render(move).contains("which lacks 42 records, 1.0 MiB now\n"))
  }

  @Test func `the status of a group tells its duty, and what keeps writes from it`() throws {
    var status = SampleStatus.status
    status.groups[0].duty = "following"
    status.groups[0].term = 3
    status.groups[0].fenced = "site west has taken over with term 3"
    var text = StatusText.render(status)
    #expect(text.contains("\n  role           recovery, term 3\n"))
    #expect(text.contains("\n  fenced         site west has taken over with term 3\n"))
    status.groups[0].fenced = nil
    status.groups[0].duty = "owning"
    status.groups[0].failover = SampleStatus.failover
    text = StatusText.render(status)
    #expect(text.contains("\n  role           protected, term 3\n"))
    #expect(
      text.contains(
        """

          failover       to 2026-11-21T10:03:07.512Z, pending since 2026-11-21T10:10:00Z, \
        committed by itself at 2026-11-21T11:10:00Z; parked as shop-1: 42 records, 1.0 MiB, over \
        5 m 3 s
                         to do: `tapline commit shop` to stay here, or `tapline rollback shop` to \
        go back to east

        """))
  }

  @Test(arguments: [
    ("now", CommitTime.now), ("manual", .manual), ("after:60m", .after(seconds: 3600)),
    ("after:1h30m", .after(seconds: 5400)), ("after:0.5s", .after(seconds: 0.5)),
  ])
  func `the time of a commit is understood`(text: String, time: CommitTime) throws {
    #expect(try CommitTime(parsing: text) == time)
  }

  @Test(arguments: [
    "", "later", "Now", "now:1h", "manual:", "after", "after:", "after:60", "after:0s",
    "after:-1h", "after:4000d", "after:1h:2h",
  ])
  func `what is no time of a commit is refused`(text: String) {
    #expect(throws: SiteError.self) { try CommitTime(parsing: text) }
  }
}
