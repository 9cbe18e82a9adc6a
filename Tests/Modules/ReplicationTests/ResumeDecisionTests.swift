import BlockModel
import Journal
import JournalTestSupport
import TestSupport
import Testing

@testable import Replication

/// Proves where the owner goes on with a follower, from what the follower says it has: never past a
/// hole, never on top of records that the owner does not have, and never at the cost of records
/// that were durable.
struct ResumeDecisionTests {
  /// The owner began incarnation 1 with record 1, 3 with 101, 4 with 201; it ends with
  /// record 250.
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var needsBaseline = false
    var needsCopy = false
    /// Those of which the follower has records.
    var incarnations: [Incarnation]
    var sequence: UInt64
    var applied: UInt64
    /// What was durable at the owner when the follower heard last.
    var durable: JournalState.OwnerMark
    /// The first record in the owner's journal; nil when it holds none.
    var oldest: UInt64? = 50
    var match = LastRecord.Match.unknown
    var dropped: DroppedChanges.Span?
    let expected: Expected

    init(
      _ description: String, needsBaseline: Bool = false, needsCopy: Bool = false,
      in epoch: UInt64, has sequence: UInt64,
      applied: UInt64 = 0, durable: (epoch: UInt64, sequence: UInt64) = (1, 0),
      oldest: UInt64? = 50, match: LastRecord.Match = .unknown,
      dropped: (after: UInt64, through: UInt64)? = nil, _ expected: Expected
    ) {
      testDescription = description
      self.needsBaseline = needsBaseline
      self.needsCopy = needsCopy
      incarnations = ResumeDecisionTests.lineage.incarnations.filter { $0.epoch < epoch }
      incarnations.append(
        ResumeDecisionTests.lineage.incarnations.first { $0.epoch == epoch }
          ?? .numbered(epoch, after: 60))
      self.sequence = sequence
      self.applied = applied
      self.durable = .init(.numbered(durable.epoch), SequenceNumber(durable.sequence))
      self.oldest = oldest
      self.match = match
      self.dropped = dropped.map {
        .init(after: SequenceNumber($0.after), through: SequenceNumber($0.through))
      }
      self.expected = expected
    }

    var welcome: LinkWelcome {
      LinkWelcome(
        site: "west", needsBaseline: needsBaseline, needsCopy: needsCopy,
        lineage: Lineage(incarnations),
        last: LastRecord(SequenceNumber(sequence), Timestamp(rawValue: sequence)),
        position: StreamPosition(segment: 1, offset: 4096), segmentIncarnation: .none,
        ownerDurable: durable, applied: SequenceNumber(applied))
    }
  }

  enum Expected: Equatable, Sendable {
    case resume, baseline, jump, jumpWithEverything
    case cut(UInt64)
    /// With the last common record; 0: none is known.
    case diverged(common: UInt64)

    init(_ decision: ResumeDecision) {
      switch decision {
      case .resume: self = .resume
      case .baseline: self = .baseline
      case .jump(.dropped): self = .jump
      case .jump(.everything): self = .jumpWithEverything
      case .cut(let after): self = .cut(after.rawValue)
      case .diverged(let divergence):
        self = .diverged(common: divergence.common?.sequence.rawValue ?? 0)
      }
    }
  }

  static let lineage = Lineage([.numbered(1), .numbered(3, after: 100), .numbered(4, after: 200)])
  static let owner = SiteHistory(
    lineage, last: .init(SequenceNumber(250), Timestamp(rawValue: 250)))

  static let cases = [
    Case("in step", in: 4, has: 250, .resume),
    Case("in step, and it is the same record", in: 4, has: 250, match: .same, .resume),
    Case("in step, the journal is empty", in: 4, has: 250, oldest: nil, .resume),
    Case("behind", in: 4, has: 230, .resume),
    Case("behind, in the incarnation before", in: 3, has: 150, .resume),
    Case("at the end of the incarnation before", in: 3, has: 200, .resume),
    Case("behind, in the oldest incarnation", in: 1, has: 70, .resume),
    Case("the next record is the journal's oldest", in: 1, has: 49, .resume),
    Case("behind, and more was durable than it has", in: 1, has: 70, durable: (3, 120), .resume),
    // Only recycled: the owner has, or had, all that it has.
    Case("one record behind the journal", in: 1, has: 48, .jumpWithEverything),
    Case("behind, the journal is empty", in: 4, has: 249, oldest: nil, .jumpWithEverything),
    // Dropped by a full journal.
    Case("what it lacks was dropped", in: 1, has: 48, dropped: (40, 49), .jump),
    Case("dropped from its last record on", in: 1, has: 40, dropped: (40, 49), .jump),
    Case("it has all that was dropped", in: 1, has: 49, dropped: (40, 49), .resume),
    Case("it has more than was dropped", in: 1, has: 60, dropped: (40, 49), .resume),
    Case(
      "it lacks one more than was noted", in: 1, has: 39, dropped: (40, 49), .jumpWithEverything),
    Case(
      "more was dropped than was noted", in: 1, has: 45, dropped: (40, 48), .jumpWithEverything),
    Case("dropped, the journal is empty", in: 4, has: 240, oldest: nil, dropped: (9, 250), .jump),
    Case("dropped, and not from nothing", in: 1, has: 0, dropped: (0, 49), .jump),
    Case(
      "dropped, in an incarnation before", in: 3, has: 120, oldest: 221, dropped: (99, 220), .jump),
    // No record at all.
    Case("has nothing, the journal begins later", in: 1, has: 0, .jumpWithEverything),
    Case("has nothing, the journal has everything", in: 1, has: 0, oldest: 1, .resume),
    Case("has nothing, of nobody known", in: 9, has: 0, oldest: 1, .resume),
    // A power cut took from the owner what was durable nowhere else.
    Case("ahead in an older incarnation", in: 3, has: 201, .cut(200)),
    Case("far ahead in the oldest one", in: 1, has: 10_000, applied: 99, .cut(100)),
    Case("ahead, applied up to the fork", in: 3, has: 240, applied: 200, .cut(200)),
    Case("ahead, durable up to the fork", in: 3, has: 240, durable: (3, 200), .cut(200)),
    Case("ahead, less was durable", in: 3, has: 240, durable: (1, 80), .cut(200)),
    Case("ahead, applied beyond the fork", in: 3, has: 240, applied: 201, .jumpWithEverything),
    Case("ahead in the newest incarnation", in: 4, has: 251, .cut(250)),
    Case("ahead in the newest one and applied", in: 4, has: 251, applied: 251, .jumpWithEverything),
    Case("ahead, and records were dropped", in: 3, has: 240, dropped: (40, 220), .cut(200)),
    Case(
      "ahead, applied, and records were dropped", in: 3, has: 240, applied: 240,
      dropped: (40, 220), .jumpWithEverything),
    // The owner lacks what was durable.
    Case(
      "ahead, durable beyond the fork", in: 3, has: 240, durable: (3, 201),
      .diverged(common: 200)),
    Case(
      "ahead, durable and applied beyond the fork", in: 3, has: 240, applied: 240,
      durable: (3, 240), .diverged(common: 200)),
    Case(
      "ahead in the newest incarnation, durable", in: 4, has: 260, durable: (4, 255),
      .diverged(common: 250)),
    Case(
      "ahead, durable in one that is unknown", in: 3, has: 240, durable: (5, 230),
      .diverged(common: 200)),
    Case(
      "ahead, durable beyond the fork, and records were dropped", in: 3, has: 240,
      durable: (3, 201), dropped: (40, 245), .diverged(common: 200)),
    Case("in an incarnation of nobody known", in: 2, has: 100, .diverged(common: 60)),
    Case("in one that is still to come", in: 5, has: 250, .diverged(common: 60)),
    Case(
      "in one of nobody known, and records were dropped", in: 5, has: 240, dropped: (40, 245),
      .diverged(common: 60)),
    // One incarnation goes on twice.
    Case("the same number, another record", in: 4, has: 240, match: .other, .diverged(common: 0)),
    Case("the last number, another record", in: 4, has: 250, match: .other, .diverged(common: 0)),
    // Nothing complete is there.
    Case("needs a baseline", needsBaseline: true, in: 4, has: 250, .baseline),
    Case("needs a baseline and is ahead", needsBaseline: true, in: 3, has: 240, .baseline),
    Case("needs a baseline, of nobody known", needsBaseline: true, in: 9, has: 240, .baseline),
    // What it has in order is not given up for that.
    Case("needs a copy", needsCopy: true, in: 4, has: 250, .jumpWithEverything),
    Case(
      "needs a copy, and records were dropped", needsCopy: true, in: 1, has: 48, dropped: (40, 49),
      .jumpWithEverything),
    Case("needs a copy and is ahead", needsCopy: true, in: 3, has: 240, .cut(200)),
    Case(
      "needs a copy, of nobody known", needsCopy: true, in: 5, has: 250, .diverged(common: 60)),
  ]

  @Test(arguments: cases) func `the owner decides`(given: Case) {
    let decision = ResumeDecision.decide(
      given.welcome, owner: Self.owner, oldest: given.oldest.map { SequenceNumber($0) },
      match: given.match, dropped: given.dropped)
    #expect(Expected(decision) == given.expected)
  }

  /// The follower sees for itself that what it is to drop is not lost with it.
  @Test(arguments: cases) func `the follower objects where the owner must not go on`(given: Case) {
    let hello = LinkHello(
      site: "east", receiver: "west", groupName: "g", group: GroupIdentifier(high: 1, low: 1),
      lineage: Self.lineage, last: LastRecord(Self.owner.last.sequence, Self.owner.last.timestamp),
      segmentByteCount: 1, disks: [])
    func objects(_ end: SequenceNumber?) -> Bool {
      ResumeDecision.objection(
        of: given.welcome, to: hello, match: given.match, droppingAfter: end) != nil
    }
    switch given.expected {
    case .diverged: #expect(objects(nil) && objects(SequenceNumber(given.sequence)))
    case .baseline, .resume: #expect(!objects(nil))
    case .jump, .jumpWithEverything: break
    case .cut(let after):
      #expect(!objects(SequenceNumber(after)))
      #expect(objects(SequenceNumber(after - 1)))
    }
    if given.expected == .resume, given.sequence > 0 {
      #expect(objects(SequenceNumber(given.sequence - 1)))
    }
  }

  /// It goes on elsewhere only where all that it has was the owner's, or nothing of it counts.
  @Test(arguments: cases) func `the follower jumps where nothing is lost`(given: Case) {
    let disks = [JournalState.Disk(name: "d", byteCount: 4096)]
    let hello = LinkHello(
      site: "east", receiver: "west", groupName: "g", group: GroupIdentifier(high: 1, low: 1),
      lineage: Self.lineage, last: LastRecord(Self.owner.last.sequence, Self.owner.last.timestamp),
      segmentByteCount: 1, disks: disks)
    func mayJump(
      behind last: UInt64, whole isWhole: Bool, discarding seen: JournalState.OwnerMark? = nil
    ) -> Bool {
      let point = JumpPoint(
        behind: .init(SequenceNumber(last), Timestamp(rawValue: last)), Self.lineage, disks: disks,
        nextDisk: 1, after: .none, lacking: isWhole ? DiskExtents(whole: disks) : DiskExtents(),
        discarding: seen)
      return ResumeDecision.mayJump(
        to: point, from: given.welcome, of: hello, match: given.match)
    }
    switch given.expected {
    case .jump:
      #expect(mayJump(behind: given.sequence, whole: false))
      #expect(given.sequence == 0 || !mayJump(behind: given.sequence - 1, whole: false))
    case .jumpWithEverything, .cut: #expect(mayJump(behind: 0, whole: true))
    case .diverged:
      #expect(!mayJump(behind: 250, whole: true) && !mayJump(behind: .max, whole: false))
      #expect(mayJump(behind: 250, whole: true, discarding: given.welcome.seen))
      let another = JournalState.OwnerMark(.numbered(9), SequenceNumber(1))
      #expect(!mayJump(behind: 250, whole: true, discarding: another))
    case .baseline: #expect(!mayJump(behind: 250, whole: true))
    case .resume: break
    }
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `a cut is always below what the follower has and not below what is needed`(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<1000 {
      let sequence = random.below(4) == 0 ? random.next() : random.next() % 300
      let given = Case(
        "", in: 1 + random.next() % 5, has: sequence, applied: random.next() % 300,
        durable: (1 + random.next() % 5, random.next() % 300), .resume)
      let decision = ResumeDecision.decide(
        given.welcome, owner: Self.owner, oldest: SequenceNumber(50))
      switch decision {
      case .cut(let end):
        #expect(end.rawValue < sequence && end >= given.welcome.applied)
        let isOwn = given.durable.incarnation == given.incarnations.last?.identifier
        #expect(!isOwn || given.durable.sequence <= end)
      case .resume:
        #expect(sequence <= 250 && (sequence >= 49 || sequence == 0))
      case .baseline, .jump(.everything), .diverged:
        break
      case .jump(.dropped): Issue.record("nothing was dropped")
      }
    }
  }

  @Test func `the words name both sites, the numbers and a way out`() throws {
    let given = Case("", in: 3, has: 240, durable: (3, 230), .resume)
    let decision = ResumeDecision.decide(given.welcome, owner: Self.owner, oldest: nil)
    guard case .diverged(let divergence) = decision else {
      Issue.record("\(decision)")
      return
    }
    let text = divergence.text(of: "shop", owner: "east", follower: "west")
    for part in [
      "record 230 was durable where it was made, and east lacks it", "last record of both is 200",
      "east has records 201 to 250",
      "west records 201 to 240", "tapline sync shop --discard-follower",
    ] {
      #expect(text.contains(part), "\(part) in \(text)")
    }
  }
}
