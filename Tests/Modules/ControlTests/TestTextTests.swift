import Appliance
import Testing

@testable import Control

/// Proves what `tapline test` asks a site for, and what people read of the answers.
@Suite struct TestTextTests {
  @Test func `a test is asked for, listed and stopped over the control socket`() throws {
    let fixture = try ControlFixture()
    let request = TestRequest(name: "monday", at: "-1h", seconds: 7200, limitBytes: 1 << 30)
    #expect(try fixture.client.startTest(group: "shop", request) == SampleStatus.test)
    #expect(fixture.site.requests.withLock { $0 } == [request])
    #expect(try fixture.client.tests() == [SampleStatus.test])
    let check = TestCheck(command: "true", exitCode: 0, seconds: 1.5)
    #expect(try fixture.client.stopTest("monday", check: check).check == check)
    #expect(throws: ControlError.self) { try fixture.client.stopTest("tuesday") }
    #expect(throws: ControlError.self) {
      try fixture.client.startTest(group: "other", TestRequest())
    }
  }

  @Test func `says what is open, until when, and how much it may take`() {
    #expect(
      TestText.render(SampleStatus.test) == """
        test monday of shop at 2026-11-21T10:03:07.512Z: open
          shop-root@monday
          ends by itself at 2026-11-21T13:00:00Z
          may take 1.0 GiB

        """)
    let listed = TestText.render([SampleStatus.test])
    #expect(listed.contains("monday  test  shop   2026-11-21T10:03:07.512Z  open"))
    #expect(TestText.render([TestStatus]()) == "no tests\n")
  }

  @Test func `an ended test says why`() {
    var test = SampleStatus.test
    test.state = "ended"
    test.reason = "1G were written to it, which is its limit"
    #expect(TestText.render(test).contains("1G were written to it"))
    let listed = TestText.render([test])
    #expect(listed.hasSuffix("monday: 1G were written to it, which is its limit\n"))
  }

  @Test(arguments: [
    (0, "check passed in 1.5 s: fsck"), (3, "check failed with exit code 3 in 1.5 s: fsck"),
  ])
  func `a report tells what the check said`(code: Int, text: String) {
    var report = SampleStatus.report
    #expect(TestText.render(report).hasSuffix("1.0 MiB were written; stopped\n"))
    report.check = TestCheck(command: "fsck", exitCode: code, seconds: 1.5)
    #expect(TestText.render(report).contains(text))
    var timeline = SampleStatus.timeline
    timeline.tests = [report]
    #expect(TimelineText.render(timeline).contains(text))
  }
}
