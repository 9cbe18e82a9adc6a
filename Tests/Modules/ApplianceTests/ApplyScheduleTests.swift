import BlockModel
import Journal
import Testing

@testable import Appliance

/// Proves when a group's journal is applied, and how much of it, without a group.
@Suite struct ApplyScheduleTests {
  private static let second: UInt64 = 1_000_000_000

  /// Steps every second, a window of 64 s, a journal of 8 MiB.
  private static let schedule = ApplySchedule(
    .init(
      periodNanoseconds: second, windowNanoseconds: 64 * second, capacityByteCount: 8 << 20))

  private static func at(_ seconds: Double) -> UInt64 { UInt64(seconds * Double(second)) }

  private static func span(
    _ records: ClosedRange<UInt64>, at seconds: ClosedRange<Double>
  ) -> RecordSpan {
    RecordSpan(
      firstSequence: SequenceNumber(records.lowerBound),
      lastSequence: SequenceNumber(records.upperBound),
      firstTimestamp: Timestamp(rawValue: at(seconds.lowerBound)),
      lastTimestamp: Timestamp(rawValue: at(seconds.upperBound)))
  }

  struct Due: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Seconds since the last step, and since something was written.
    let sinceStep: Double
    let sinceWrite: Double
    let written: UInt64
    let isDue: Bool
  }

  @Test(arguments: [
    Due(testDescription: "idle", sinceStep: 1, sinceWrite: 0.3, written: 1, isDue: true),
    Due(testDescription: "too soon", sinceStep: 0.9, sinceWrite: 0.9, written: 1, isDue: false),
    Due(testDescription: "busy", sinceStep: 9, sinceWrite: 0.1, written: 1, isDue: false),
    Due(testDescription: "busy for long", sinceStep: 10, sinceWrite: 0, written: 1, isDue: true),
    Due(
      testDescription: "busy, and much was written", sinceStep: 2, sinceWrite: 0,
      written: 1 << 20, isDue: true),
  ])
  func `apply waits for a quiet moment, and not for ever`(given: Due) {
    var schedule = Self.schedule
    let now = Self.at(100)
    schedule.look(byteCount: 5, now: Self.at(80))
    schedule.begins(
      through: .init(SequenceNumber(1), .zero), now: now - Self.at(given.sinceStep))
    schedule.look(byteCount: 5 + given.written, now: now - Self.at(given.sinceWrite))
    #expect(schedule.isDue(now: now) == given.isDue)
  }

  @Test func `what failed is tried again a second later, or at a stop`() {
    var schedule = Self.schedule
    schedule.failed(.init(text: "no", isDamage: false), now: Self.at(5))
    #expect(!schedule.mayTry(now: Self.at(5.9)))
    #expect(schedule.mayTry(now: Self.at(6)) && schedule.failure?.text == "no")
    schedule.failed(.init(text: "no", isDamage: true), now: Self.at(7))
    schedule.triesAtOnce()
    #expect(schedule.mayTry(now: Self.at(7)) && schedule.failure == nil)
  }

  struct Close: Sendable, CustomTestStringConvertible {
    let testDescription: String
    var durable: UInt64 = 20
    /// What the window is measured from, in seconds.
    var history: Double = 80
    var isPressed = false
    var sinceClosing: Double = 60
    let outcome: ApplySchedule.Closing
  }

  @Test(arguments: [
    Close(testDescription: "in the window", history: 73, outcome: .staysOpen),
    Close(testDescription: "its first record is due", history: 74, outcome: .now),
    Close(testDescription: "not durable yet", durable: 19, outcome: .later),
    Close(testDescription: "one was just closed", sinceClosing: 0.9, outcome: .staysOpen),
    Close(
      testDescription: "there must be room", durable: 0, history: 10, isPressed: true,
      sinceClosing: 0, outcome: .now),
  ])
  func `the active generation is closed when it is due`(given: Close) {
    var schedule = Self.schedule
    let now = Self.at(200)
    schedule.closed(now: now - Self.at(given.sinceClosing))
    func closing(_ active: RecordSpan?) -> ApplySchedule.Closing {
      schedule.closing(
        of: active, durable: SequenceNumber(given.durable),
        history: Timestamp(rawValue: Self.at(given.history)), isPressed: given.isPressed, now: now)
    }
    #expect(closing(Self.span(1...20, at: 10...20)) == given.outcome)
    #expect(closing(nil) == .staysOpen)
  }

  struct Step: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// In seconds.
    var history: Double = 94
    var view: Double?
    var last: UInt64 = .max
    var isPressed = false
    let count: Int
  }

  @Test(arguments: [
    Step(testDescription: "what left the window", count: 3),
    Step(testDescription: "a young history", history: 30, count: 0),
    Step(testDescription: "a view holds back", view: 15, count: 1),
    Step(testDescription: "not durable", last: 29, count: 2),
    Step(testDescription: "pressed: whatever its age", history: 30, isPressed: true, count: 8),
    Step(
      testDescription: "pressed: not what a view needs", history: 30, view: 45, isPressed: true,
      count: 4),
  ])
  func `a step takes the oldest generations that may go`(given: Step) {
    let spans = (0..<12).map { index -> RecordSpan in
      let (first, start) = (UInt64(index) * 10 + 1, Double(index) * 10)
      return Self.span(first...first + 9, at: start...start + 10)
    }
    let count = Self.schedule.stepCount(
      spans, history: Timestamp(rawValue: Self.at(given.history)),
      view: given.view.map { Timestamp(rawValue: Self.at($0)) },
      through: SequenceNumber(given.last), isPressed: given.isPressed)
    #expect(count == given.count)
  }

  @Test func `no view is opened before the end of a step, until the journal starts over`() {
    var schedule = Self.schedule
    schedule.begins(through: .init(SequenceNumber(2), Timestamp(rawValue: 20)), now: 1)
    schedule.begins(through: .init(SequenceNumber(1), Timestamp(rawValue: 10)), now: 2)
    #expect(schedule.target == Timestamp(rawValue: 20))
    schedule.restarts()
    #expect(schedule.target == .zero)
  }

  @Test func `that zeros became holes is said once, until they find space`() {
    var schedule = Self.schedule
    let steps: [(thinned: UInt64, zeroed: UInt64)] = [
      (1, 1), (1, 1), (0, 0), (1, 1), (0, 1), (1, 1),
    ]
    let said = steps.map { schedule.thinned($0.thinned, zeroed: $0.zeroed) }
    #expect(said == [true, false, false, false, false, true])
  }
}
