import BlockModel
import JournalTestSupport
import Testing
import Volume

@testable import Journal

/// Which instants exist, and what the others are refused with.
@Suite struct HistoryTests {
  static func checkpoint(_ sequence: UInt64, _ timestamp: UInt64, _ tag: String) -> Checkpoint {
    Checkpoint(
      sequence: SequenceNumber(sequence), timestamp: Timestamp(rawValue: timestamp), tag: tag)
  }

  static func history(_ start: UInt64, _ end: UInt64) -> History {
    let generation = Generation(
      span: RecordSpan(
        firstSequence: SequenceNumber(1), lastSequence: SequenceNumber(9),
        firstTimestamp: Timestamp(rawValue: 10), lastTimestamp: Timestamp(rawValue: 90)),
      checkpoints: [
        checkpoint(2, 20, "early"), checkpoint(3, 30, ""), checkpoint(4, 40, "again"),
      ], maps: [])
    return History(
      start: Timestamp(rawValue: start), end: Timestamp(rawValue: end),
      generations: [generation], activeSpan: nil,
      activeCheckpoints: [checkpoint(11, 110, "again"), checkpoint(12, 120, "late")], gaps: [])
  }

  struct Case: Sendable, CustomTestStringConvertible {
    let expression: InstantExpression
    let instant: UInt64?
    var testDescription: String { "\(expression)" }
    init(_ expression: InstantExpression, _ instant: UInt64?) {
      self.expression = expression
      self.instant = instant
    }
  }

  /// From 25 to 150; now is 160.
  @Test(arguments: [
    Case(.latest, 150),
    Case(.at(Timestamp(rawValue: 24)), nil),
    Case(.at(Timestamp(rawValue: 25)), 25),
    Case(.at(Timestamp(rawValue: 100)), 100),
    Case(.at(Timestamp(rawValue: 150)), 150),
    Case(.at(Timestamp(rawValue: 151)), nil),
    Case(.at(.zero), nil),
    Case(.at(.distantFuture), nil),
    Case(.ago(nanoseconds: 0), nil),
    Case(.ago(nanoseconds: 9), nil),
    Case(.ago(nanoseconds: 10), 150),
    Case(.ago(nanoseconds: 135), 25),
    Case(.ago(nanoseconds: 136), nil),
    Case(.ago(nanoseconds: .max), nil),
    Case(.checkpoint(tag: "late"), 120),
    Case(.checkpoint(tag: "again"), 110),
    Case(.checkpoint(tag: "early"), nil),
    Case(.checkpoint(tag: "missing"), nil),
  ])
  func instantsOfExpressions(expression: Case) throws {
    let history = Self.history(25, 150)
    let now = Timestamp(rawValue: 160)
    if let instant = expression.instant {
      let found = try history.instant(of: expression.expression, now: now)
      #expect(found == Timestamp(rawValue: instant))
      return
    }
    let refusal = #expect(throws: History.Refusal.self) {
      try history.instant(of: expression.expression, now: now)
    }
    // Whoever asked is told what there is.
    let text = try #require(refusal).description
    #expect(text.contains("\(history.start)") && text.contains("\(history.end)"), "\(text)")
  }

  @Test func withoutABaselineThereAreNoInstants() {
    let history = Self.history(200, 150)
    for expression in [
      InstantExpression.latest, .at(Timestamp(rawValue: 150)), .checkpoint(tag: "x"),
    ] {
      #expect(throws: History.Refusal.noHistory) {
        try history.instant(of: expression, now: Timestamp(rawValue: 1000))
      }
    }
  }

  @Test func checkpointsAreThoseOfTheJournalInOrder() {
    #expect(Self.page(nil, nil, 100) == ([2, 3, 4, 11, 12], nil, nil))
  }

  /// Sequence numbers, and where it goes on.
  private static func page(
    _ from: UInt64?, _ through: UInt64?, _ limit: Int, start: UInt64 = 0
  ) -> ([UInt64], earlier: UInt64?, later: UInt64?) {
    let page = history(start, 200).checkpoints(
      from: from.map(Timestamp.init(rawValue:)), through: through.map(Timestamp.init(rawValue:)),
      limit: limit)
    return (
      page.checkpoints.map(\.sequence.rawValue), page.earlier?.rawValue, page.later?.rawValue
    )
  }

  @Test func aPageHasTheNewestAndSaysWhatComesBefore() {
    #expect(Self.page(nil, nil, 2) == ([11, 12], 40, nil))
    #expect(Self.page(nil, 40, 2) == ([3, 4], 20, 110))
    #expect(Self.page(nil, 20, 2) == ([2], nil, 30))
    // Between two.
    #expect(Self.page(nil, 109, 1) == ([4], 30, 110))
    #expect(Self.page(nil, 19, 5) == ([], nil, 20))
    // All that is between two.
    #expect(Self.page(30, 110, 5) == ([3, 4, 11], 20, 120))
  }

  @Test func aPageFromAnInstantHasTheOldestAndSaysWhatComesBehind() {
    #expect(Self.page(30, nil, 2) == ([3, 4], 20, 110))
    #expect(Self.page(110, nil, 2) == ([11, 12], 40, nil))
    #expect(Self.page(121, nil, 2) == ([], 120, nil))
    #expect(Self.page(25, 110, 2) == ([4, 11], 30, 120))
  }

  @Test func whatIsOlderThanTheHistoryIsOnNoPage() {
    #expect(Self.page(nil, nil, 100, start: 25) == ([3, 4, 11, 12], nil, nil))
    #expect(Self.page(0, nil, 1, start: 25) == ([3], nil, 40))
    #expect(Self.page(nil, 24, 10, start: 25) == ([], nil, 30))
  }

  /// Checkpoints survive what the index goes through, and name their instants.
  @Test(arguments: TestGroup.Ending.allCases)
  func aCheckpointNamesItsInstant(ending: TestGroup.Ending) throws {
    let group = try TestGroup(seed: 2)
    for value in UInt8(1)...20 {
      try group.record(.write(disk: 0, offset: 0, [value]), now: UInt64(value) * 100)
      try group.record(.checkpoint(tag: value == 7 ? "seven" : ""), now: UInt64(value) * 100 + 50)
      if value == 5 { try group.apply() }
      if value % 6 == 0 { try group.journal.sealActive() }
      if value % 4 == 0 { try group.journal.freezeActive() }
    }
    try group.sync()
    try group.restart(ending)
    group.keepIndex()
    let now = Timestamp(rawValue: 5000)
    let history = group.instants(now: now)
    #expect(history.checkpoints(from: nil, through: nil, limit: 100).checkpoints.count == 15)
    #expect(group.journal.checkpointCount == 15)
    let instant = try history.instant(of: .checkpoint(tag: "seven"), now: now)
    #expect(instant == Timestamp(rawValue: 750))
    let plan = try group.plan(at: instant)
    #expect(try group.view(plan).bytes(disk: 0, offset: 0, count: 1) == [7])
    plan.release()
    #expect(throws: History.Refusal.self) {
      try history.instant(of: .at(Timestamp(rawValue: 500)), now: now)
    }
  }
}
