import Appliance
import Testing

@testable import Control

/// Proves that what people read says what the JSON says, in the units that they expect.
@Suite struct StatusTextTests {
  @Test func statusShowsEveryFigureOfAGroup() {
    let text = StatusText.render(SampleStatus.status)
    let expected = """
      site east, tapline 0.1.0, at 2026-11-21T10:03:07.512Z
        nbd at tcp:0.0.0.0:10809, TLS required
        link at tcp:10.0.0.1:10810

      group shop
        role           protected
        health         ok
        epoch          2
        watermarks     stamped 120, appended 119, durable 118, applied 90
        at the peer    received 117, durable 116, applied 12
        history        2026-11-21T10:00:00Z to 2026-11-21T10:03:07Z (3 m 7 s), \
      3 checkpoints, 1 open view with 3.0 MiB saved
        journal        1.0 GiB of 8.0 GiB (13 %), 16 segments (3 to 18), \
      index 2.0 MiB and 100.0 MiB in files
        link           west: syncing, initial sync 50 % done, 2 reconnects
        RPO            0.8 s; lag 4 records, 12.0 KiB
        sent           2.0 GiB, 1.0 GiB on the wire
        write latency  p50 45 µs, p99 1.2 ms, max 2.5 s (1234 writes in the last minute)
        DISK           SIZE  CLIENTS  BACKING
        shop-root  20.0 GiB        2  file:/srv/root.raw

      group plain
        role        plain
        health      the disk is gone; attach it
        epoch       1
        watermarks  stamped 0, appended 0, durable 0, applied 0
        history     none

      analysis of writes
        GROUP  DISK       WINDOW  WRITES/S   BYTES/S  SEQUENTIAL  OVERWRITE   ENTROPY \
        LZ4  ZERO  HOTTEST
        shop   shop-root    60 s      12.5  50.0 KiB        25 %          -  7.98 b/B \
       1.25   1 %  1.0 MiB + 1.0 MiB
        shop: 3 requests skipped by the analyzer

      """
    #expect(text == expected)
  }

  @Test func reloadShowsWhatHoldsNowAndWhatWaits() throws {
    let expected = """
      /etc/tapline/east.yaml was read again
      applied
        disk shop-root of group shop: 2G -> 3G
        disk shop-data: access
      needs a restart
        group shop: history: 1h -> 2h
      note
        group shop: west is smaller

      """
    #expect(ReloadText.render(SampleStatus.reload) == expected)
    let nothing: ReloadStatus = try SampleStatus.decode(
      #"{"file":"a.yaml","grown":[],"applied":[],"needs_restart":[],"notes":[]}"#)
    #expect(ReloadText.render(nothing) == "a.yaml was read again\nnothing has changed\n")
  }

  @Test func siteOfAnEarlierVersionIsShown() throws {
    let status: SiteStatus = try SampleStatus.decode(
      """
      {"site":"east","version":"0.1.0","now":"2026-11-21T10:03:07.512Z","groups":[
        {"name":"shop","role":"protected","health":"ok","epoch":2,
         "watermarks":{"stamped":0,"appended":0,"durable":0,"applied":0},
         "history":{"start":"2026-11-21T10:00:00Z","end":"2026-11-21T10:03:07Z","seconds":187,
           "checkpoints":3,"open_views":1},
         "disks":[]}]}
      """)
    let text = StatusText.render(status)
    #expect(text.hasPrefix("site east, tapline 0.1.0, at 2026-11-21T10:03:07.512Z\n\ngroup shop\n"))
    #expect(text.contains("(3 m 7 s), 3 checkpoints, 1 open view\n"))
  }

  @Test func statusShowsWhatIsWrongAndWhatToDo() throws {
    let status: SiteStatus = try SampleStatus.decode(
      """
      {"site":"east","version":"0.1.0","now":"2026-11-21T10:03:07.512Z","groups":[
        {"name":"shop","role":"protected","health":"the disk is gone","epoch":2,
         "conditions":[{"code":"apply-stopped","severity":"error","text":"the disk is gone",
            "remedy":"attach it","since":"2026-11-21T10:00:00Z"},
           {"code":"copying","severity":"info","text":"a full copy: 12 %",
            "remedy":"none is needed","since":"2026-11-21T10:02:00Z"}],
         "watermarks":{"stamped":0,"appended":0,"durable":0,"applied":0},"disks":[]}]}
      """)
    let expected = """
        role        protected
        health      error
        error       apply-stopped, since 2026-11-21T10:00:00Z: the disk is gone
                    to do: attach it
        info        copying, since 2026-11-21T10:02:00Z: a full copy: 12 %
                    to do: none is needed
        epoch       2

      """
    #expect(StatusText.render(status).contains(expected))
  }

  @Test func siteWithoutGroupsSaysSo() {
    var status = SampleStatus.status
    status.groups = []
    #expect(StatusText.render(status).hasSuffix("\n\nno groups\n"))
  }

  @Test func timelineShowsRangeGapsAndCheckpoints() {
    let expected = """
      group shop: any instant from 2026-11-21T10:00:00Z to 2026-11-21T10:03:07Z
        except from 2026-11-21T10:00:30Z to 2026-11-21T10:00:40Z, where order was lost \
      or the group changed hands
      CHECKPOINT            SEQUENCE  TAG
      2026-11-21T10:01:00Z         7  (periodic)
      2026-11-21T10:02:00Z     12345  before-upgrade

      """
    #expect(TimelineText.render(SampleStatus.timeline) == expected)
  }

  @Test func timelineBeforeTheFirstSyncSaysSo() {
    var timeline = SampleStatus.timeline
    timeline.start = nil
    timeline.checkpoints = []
    #expect(TimelineText.render(timeline).contains("no instant can be opened yet"))
    #expect(TimelineText.render(timeline).hasSuffix("no checkpoints\n"))
  }

  @Test(arguments: [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (20 << 30, "20.0 GiB"),
    (UInt64.max, "16384.0 PiB"),
  ])
  func bytesHaveBinaryUnits(_ count: UInt64, _ text: String) {
    #expect(Quantity.bytes(count) == text)
  }

  @Test(arguments: [
    (0, "0.0 s"), (0.84, "0.8 s"), (59.94, "59.9 s"), (60, "1 m 0 s"), (3_725, "1 h 2 m"),
    (90_000, "1 d 1 h"), (.infinity, "-"), (.nan, "-"), (-1, "0.0 s"),
  ])
  func secondsHaveTwoUnits(_ seconds: Double, _ text: String) {
    #expect(Quantity.seconds(seconds) == text)
  }

  @Test(arguments: [(45.4, "45 µs"), (999, "999 µs"), (1200, "1.2 ms"), (2_500_000, "2.5 s")])
  func latenciesHaveTheFittingUnit(_ microseconds: Double, _ text: String) {
    #expect(Quantity.microseconds(microseconds) == text)
  }

  @Test(arguments: [
    (1.256, 2, "1.26"), (7.981, 2, "7.98"), (0.04, 2, "0.04"), (-1.26, 1, "-1.3"),
    (-0.01, 1, "0.0"),
    (2.5, 0, "3"),
  ])
  func decimalsAreRounded(_ value: Double, _ places: Int, _ text: String) {
    #expect(Quantity.decimal(value, places: places) == text)
  }
}
