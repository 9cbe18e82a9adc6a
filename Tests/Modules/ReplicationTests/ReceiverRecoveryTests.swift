import BlockModel
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

@testable import Journal

/// A receiver's journal may be applied, stopped, killed and lose power between any two pieces of
/// the stream: given the same bytes from where it says that it ended, it becomes the sender's.
@Suite struct ReceiverRecoveryTests {
  /// One segment of a sender: its header and its records' bytes.
  struct Sent {
    let header: SegmentHeader
    let records: [[UInt8]]
    var body: [UInt8] { records.flatMap { $0 } }
  }

  static func sender(seed: UInt64, records: Int) throws -> (TestGroup, [Sent]) {
    var random = SeededGenerator(seed: seed)
    var settings = TestGroup.Settings(diskByteCounts: [30_000, 9000])
    settings.capacityByteCount = 4 << 20
    let group = try TestGroup(seed: seed, settings)
    for _ in 0..<records {
      let operation = Operation.random(
        &random, diskByteCounts: settings.diskByteCounts, writeLimit: 4000)
      try group.record(operation, now: UInt64(random.below(100)))
      if random.chance(3) { try group.journal.sealActive() }
    }
    let segments = group.journal.segments(after: .none, through: group.journal.stamped)
    let sent = try segments.map { segment in
      var scanner = SegmentScanner(segment.file, header: segment.header, limit: segment.end)
      var records: [[UInt8]] = []
      while let record = try scanner.next() {
        records.append(Array(segment.file.bytes[record.position..<scanner.position]))
      }
      return Sent(header: segment.header, records: records)
    }
    return (group, sent)
  }

  static func receiver(of sender: TestGroup) throws -> TestGroup {
    try TestGroup(seed: 77, receivingFrom: sender.state, sender.settings)
  }

  /// Gives `bytes` in pieces of random sizes; what is not taken is given again with more.
  static func feed(_ bytes: [UInt8], to group: TestGroup, _ random: inout SeededGenerator) throws {
    var waiting: [UInt8] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let limit = [3, 40, 2000, 100_000][random.below(4)]
      let piece = rest.prefix(1 + random.below(limit))
      rest = rest.dropFirst(piece.count)
      waiting += piece
      waiting.removeFirst(try group.accept(waiting))
    }
    #expect(waiting.isEmpty)
  }

  @Test(arguments: UInt64(0)..<40)
  func applyAndRestartsBetweenPiecesChangeNothing(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed ^ 0x51)
    let (sender, sent) = try Self.sender(seed: seed, records: 20 + random.below(60))
    let receiver = try Self.receiver(of: sender)
    for segment in sent {
      try receiver.accept(segment: segment.header)
      try Self.feed(segment.body, to: receiver, &random)
      if random.chance(20) { try receiver.apply() }
      if random.chance(50) {
        try receiver.sync()
        receiver.keepIndex(limit: random.below(6))
      }
      if random.chance(20) {
        let (sequence, position) = (receiver.journal.stamped, receiver.journal.acceptPosition)
        try receiver.restart(random.chance(50) ? .kill : .clean)
        #expect(receiver.journal.stamped == sequence)
        #expect(receiver.journal.acceptPosition?.segment == position?.segment)
        #expect(receiver.journal.acceptPosition?.offset == position?.offset)
      }
    }
    #expect(receiver.journal.appended == sender.journal.appended)
    #expect(receiver.journal.newestTimestamp == sender.journal.newestTimestamp)
    #expect(receiver.journal.currentEpoch == sender.journal.currentEpoch)
    #expect(try receiver.contents() == sender.history.last.disks)
    let kept = receiver.journal.segments(after: .none, through: receiver.journal.stamped)
    for segment in kept {
      let original = try #require(sender.journal.catalog.segment(segment.number))
      #expect(segment.header == original.header && segment.end == original.end)
      #expect(segment.file.bytes[..<segment.end] == original.file.bytes[..<segment.end])
    }
  }

  /// After a power cut the receiver says how far it came, and takes the same bytes from there.
  @Test(arguments: UInt64(0)..<60)
  func aReceiverThatLostPowerGoesOnWhereItEnded(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed ^ 0xDEAD)
    let (sender, sent) = try Self.sender(seed: seed, records: 70)
    let receiver = try Self.receiver(of: sender)
    var cuts = 6
    var durable = SequenceNumber.none
    while receiver.journal.stamped < sender.journal.stamped {
      for segment in sent {
        let next = receiver.journal.stamped.advanced(by: 1)
        let end = segment.header.firstSequence.advanced(by: UInt64(segment.records.count))
        guard segment.header.firstSequence <= next, next < end else { continue }
        if receiver.journal.newestSegment?.number != segment.header.number {
          try receiver.accept(segment: segment.header)
        }
        let done = Int(next.distance(from: segment.header.firstSequence))
        for record in segment.records[done...] {
          #expect(try receiver.accept(record) == record.count)
          if random.chance(10) {
            try receiver.sync()
            durable = receiver.journal.durable
            receiver.keepIndex(limit: random.below(6))
          }
          if random.chance(5), cuts > 0 { break }
        }
        if cuts > 0, random.chance(50) { break }
      }
      guard cuts > 0 else { continue }
      cuts -= 1
      try receiver.restart(.powerCut)
      #expect(receiver.journal.stamped >= durable)
    }
    #expect(try receiver.contents() == sender.history.last.disks)
    try receiver.sync()
    try receiver.restart(.powerCut)
    #expect(receiver.journal.stamped == sender.journal.stamped)
    #expect(try receiver.contents() == sender.history.last.disks)
  }

  @Test func afterAFullCopyTheStreamMayBeginBeforeItsEnd() throws {
    let (sender, sent) = try Self.sender(seed: 8, records: 30)
    let receiver = try Self.receiver(of: sender)
    // The copy holds records up to 20; the segment with them is sent from its beginning.
    let segment = try #require(sent.last { $0.header.firstSequence <= SequenceNumber(20) })
    try receiver.beginBaseline(
      SequenceNumber(segment.header.firstSequence.rawValue - 1), sender.state.lineage)
    try receiver.accept(segment: segment.header)
    #expect(try receiver.accept(segment.body) == segment.body.count)
    #expect(
      receiver.journal.stamped
        == segment.header.firstSequence.advanced(by: UInt64(segment.records.count) - 1))
  }
}
