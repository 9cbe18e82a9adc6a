import BlockModel
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

@testable import Appliance
@testable import Journal
@testable import Replication

/// Over a real loopback connection that breaks anywhere, every record arrives exactly once and in
/// order; what the receiver lacks for ever it goes on behind; what the sender lost is taken back.
///
/// The receiver's journal refuses whatever is not the very next record, so having all of them means
/// that each came once.
@Suite(.serialized) struct LinkSenderTests {
  static let disks = [20_000, 6000]

  /// A sender whose first records have arrived.
  static func linked(records count: Int = 5) throws -> (SendingGroup, ReceivingSite) {
    var random = SeededGenerator(seed: 1)
    return try linked(records: count, &random)
  }

  static func linked(
    records count: Int = 5, _ random: inout SeededGenerator
  ) throws -> (SendingGroup, ReceivingSite) {
    let sending = try SendingGroup(diskByteCounts: disks)
    let site = try ReceivingSite(for: sending, seed: 1)
    sending.startLink(to: site.endpoint)
    try sending.write(count, &random)
    try site.run { site.group.journal.appended == sending.journal.appended }
    return (sending, site)
  }

  /// Everything arrives; a sender that waits to connect again need not.
  static func catchUp(_ site: ReceivingSite, _ sending: SendingGroup) throws {
    try site.run {
      if !site.isConnected { sending.hurry() }
      return site.group.journal.appended == sending.journal.appended
    }
  }

  static func expectSame(
    _ site: ReceivingSite, _ sending: SendingGroup,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(
      site.group.journal.appended == sending.journal.appended, sourceLocation: sourceLocation)
    #expect(
      try site.group.contents() == sending.history.last.disks, sourceLocation: sourceLocation)
    for segment in sending.journal.segments(after: .none, through: sending.journal.stamped) {
      guard let copy = site.group.journal.catalog.segment(segment.number) else { continue }
      #expect(copy.header == segment.header, sourceLocation: sourceLocation)
      #expect(copy.end == segment.end, sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: UInt64(0)..<8)
  func everyRecordArrivesOnceAndInOrder(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: seed)
    sending.startLink(to: site.endpoint)
    try sending.write(1, &random)
    try site.run { site.group.journal.appended == SequenceNumber(1) }
    try site.group.sync()
    for _ in 0..<12 {
      site.receiveLimit = [1, 100, 5000, 64 << 10][random.below(4)]
      if random.chance(60) { site.bytesUntilCut = random.below(12_000) }
      try sending.write(random.below(12), &random)
      if random.chance(20) { try sending.journal.sealActive() }
      for _ in 0..<random.below(20) {
        // A sender that waits to connect again need not.
        if !site.isConnected { sending.hurry() }
        try site.step()
      }
      if random.chance(30) { try site.group.sync() }
      if random.chance(20) { try site.group.apply() }
      if random.chance(15) {
        site.disconnect()
        try site.group.restart([.kill, .clean, .powerCut][random.below(3)])
      }
    }
    site.bytesUntilCut = nil
    site.receiveLimit = 64 << 10
    try Self.catchUp(site, sending)
    try Self.expectSame(site, sending)
    #expect(site.cuts.isEmpty && site.framesSeen[.baselineBegin] == nil)
  }

  @Test func progressReachesTheFollowersMarks() throws {
    let (sending, site) = try Self.linked(records: 20)
    let (follower, all) = (sending.follower, SequenceNumber(20))
    try site.run { follower.received == all }
    #expect(follower.durable == .none)
    try site.group.sync()
    try site.run { follower.durable == all }
    #expect(follower.applied == .none)
    try site.group.apply()
    try site.run { follower.applied == all }
    let snapshot = try #require(sending.sender).monitor.snapshot
    #expect(snapshot.state == .connected && snapshot.isRecoverable)
    #expect(site.hellos.map(\.site) == ["east"])
  }

  @Test func progressBeyondWhatWasSentEndsTheConnection() throws {
    let (sending, site) = try Self.linked()
    let lie = LinkProgress(
      isRecoverable: true, received: SequenceNumber(6), durable: SequenceNumber(6),
      applied: .none, durableTimestamp: .zero)
    site.send(LinkFrame(.progress), lie.encoded())
    // It connects again all the same.
    try site.run { site.hellos.count == 2 }
    #expect(sending.log.contains("cannot have"))
    #expect(sending.follower.durable == .none)
  }

  /// It would send for ever, or what the other side must refuse.
  @Test(arguments: [0, 1, 4095, 8 << 20])
  func `a position outside of the segment's records ends the connection`(offset: Int) throws {
    var random = SeededGenerator(seed: 1)
    let (sending, site) = try Self.linked(&random)
    site.claimedOffset = offset
    site.disconnect()
    try site.run {
      if !site.isConnected { sending.hurry() }
      return sending.log.contains("asks for position \(offset)")
    }
    // The next connection names the right one.
    try sending.write(5, &random)
    try Self.catchUp(site, sending)
    try Self.expectSame(site, sending)
  }

  @Test(arguments: [LinkFrameKind.records, .hello, .segment])
  func `a message that only the sender may send ends the connection`(
    kind: LinkFrameKind
  ) throws {
    let (sending, site) = try Self.linked()
    // A long body is announced, of which nothing follows: it is not waited for.
    var header = LinkFrame(kind)
    header.bodyByteCount = LinkFrame.bodyLimit(of: kind)
    site.sendRaw(header.encoded)
    try site.run { site.hellos.count == 2 }
    #expect(sending.log.contains("unexpected \(kind)"))
  }

  // MARK: Names

  /// Questions that nobody answers would pile up, and those of other links wait behind them.
  @Test func `the number of a name is asked for once at a time`() throws {
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: 1)
    guard case .tcp(_, let port) = site.endpoint else { return }
    sending.questions.hold()
    sending.startLink(to: .tcp(host: "localhost", port: port))
    let sender = try #require(sending.sender)
    for _ in 0..<5 {
      sender.suspend()
      sender.resume()
    }
    sending.settle()
    // The answer is for the attempt that is under way then.
    #expect(sending.questions.release() == 1)
    try site.run { site.hellos.count == 1 }
  }

  // MARK: Sizes

  @Test func `a receiver is told that a disk has grown, over the same connection`() throws {
    var random = SeededGenerator(seed: 1)
    let (sending, site) = try Self.linked(&random)
    #expect(site.hellos.map { $0.disks.map(\.byteCount) } == [[20_000, 6000]])
    sending.stores[1].grow(to: 9000)
    sending.hurry()
    try site.run { site.hellos.count == 2 }
    #expect(site.hellos.last?.disks.map(\.byteCount) == [20_000, 9000])
    try sending.write(5, &random)
    try Self.catchUp(site, sending)
    try Self.expectSame(site, sending)
    // It says so at the beginning of the next one, too, and only once in each.
    site.disconnect()
    try site.run {
      if !site.isConnected { sending.hurry() }
      return site.hellos.count == 3
    }
    #expect(site.hellos.last?.disks.map(\.byteCount) == [20_000, 9000])
    try sending.write(5, &random)
    try Self.catchUp(site, sending)
    #expect(site.hellos.count == 3)
  }

  @Test func `the sizes of a receiver's disks are known, and that they grow`() throws {
    let (sending, site) = try Self.linked()
    let monitor = try #require(sending.sender).monitor
    #expect(monitor.snapshot.peerDisks == [])
    let disks = [JournalState.Disk(number: DiskNumber(1), name: "data", byteCount: 20_000)]
    site.disks = disks
    try site.welcome()
    try site.run { monitor.snapshot.peerDisks == disks }
    #expect(site.hellos.count == 1 && monitor.snapshot.reconnectCount == 0)
  }

  @Test func `a full copy ends where the disk ended when the receiver was told`() throws {
    var random = SeededGenerator(seed: 2)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    try sending.write(5, &random)
    try sending.applyAll()
    let site = try ReceivingSite(for: sending, seed: 1)
    site.needsBaseline = true
    site.receiveLimit = 100
    sending.startLink(to: site.endpoint)
    try site.run { site.framesSeen[.baselineBegin] == 1 }
    // What the receiver has no room for would end it.
    sending.stores[1].grow(to: 9000)
    site.receiveLimit = 64 << 10
    try site.run { site.baselineEnd != nil && site.hellos.count == 2 }
    #expect(site.group.stores.map(\.byteCount) == [20_000, 6000])
    try sending.write(5, &random)
    try Self.catchUp(site, sending)
    #expect(try site.group.contents() == sending.history.last.disks)
    #expect(site.framesSeen[.baselineBegin] == 1)
  }

  @Test func aRefusalIsShown() throws {
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: 1)
    sending.startLink(to: site.endpoint)
    let monitor = try #require(sending.sender).monitor
    try site.run { site.hellos.count == 1 }
    site.send(LinkFrame(.refused), Array("the disks differ".utf8))
    try site.run { monitor.snapshot.state == .refused }
    #expect(monitor.snapshot.detail.contains("the disks differ"))
  }

  /// Also when the last segment was sealed and no record follows, as after a crash.
  @Test(arguments: [false, true])
  func heartbeatsTellHowFarNothingIsMissing(sealed: Bool) throws {
    var random = SeededGenerator(seed: 1)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: 1)
    try sending.write(5, &random)
    if sealed { try sending.journal.sealActive() }
    sending.startLink(to: site.endpoint)
    try sending.closeInstants()
    try site.run { site.knownThrough > 0 }
    #expect(site.knownThrough == sending.journal.watermarks[.completeThrough])
    #expect(site.group.journal.appended == sending.journal.appended)
  }

  @Test(arguments: UInt64(0)..<4)
  func recordsThatTheSenderLostAreTakenBack(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: seed)
    for round in 0..<3 {
      sending.startLink(to: site.endpoint)
      try sending.write(10 + random.below(30), &random)
      try site.run { site.group.journal.appended == sending.journal.appended }
      if round == 1 { try site.group.sync() }
      let before = site.cuts.count
      let lost = UInt64(1 + random.below(9))
      let kept = SequenceNumber(sending.journal.appended.rawValue - lost)
      try sending.losePower(keeping: kept)
      site.disconnect()
      sending.startLink(to: site.endpoint)
      try sending.write(random.below(20), &random)
      try site.run {
        site.cuts.count > before && site.group.journal.appended == sending.journal.appended
      }
      #expect(site.cuts.last == kept)
      try Self.expectSame(site, sending)
      if random.chance(50) {
        try site.group.restart(.kill)
        #expect(try site.group.contents() == sending.history.last.disks)
      }
      sending.stopLink()
      site.disconnect()
    }
  }

  /// The receiver had begun a segment of which the sender lost even the header.
  @Test func aSegmentThatTheSenderLostWholeIsTakenBack() throws {
    var random = SeededGenerator(seed: 3)
    let (sending, site) = try Self.linked(records: 10, &random)
    sending.stopLink()
    site.disconnect()
    let last = sending.journal.appended
    try site.group.accept(
      segment: SegmentHeader(
        identity: SegmentIdentity(
          group: sending.state.group,
          incarnation: try #require(sending.state.lineage.newest),
          number: try #require(sending.journal.newestSegment).number + 1),
        segmentByteCount: UInt32(sending.options.segmentByteCount),
        firstSequence: last.advanced(by: 1),
        firstTimestamp: Timestamp(rawValue: sending.journal.newestTimestamp.rawValue + 1)))
    try sending.losePower(keeping: last)
    try sending.write(10, &random)
    sending.startLink(to: site.endpoint)
    try site.run { site.group.journal.appended == sending.journal.appended }
    try Self.expectSame(site, sending)
  }

  /// Asked to go back, the receiver keeps its segment of that number: it has applied records of it.
  @Test func `a receiver with another segment of the same number goes on behind it`() throws {
    var random = SeededGenerator(seed: 4)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: 4)
    try sending.write(1, &random)
    sending.startLink(to: site.endpoint)
    try sending.write(30, &random)
    try site.run { site.group.journal.appended == sending.journal.appended }
    try site.group.sync()
    try sending.applyAll()
    let number = try #require(sending.journal.newestSegment).number
    try sending.loseNewestSegment()
    site.disconnect()
    try sending.write(10, &random)
    #expect(
      sending.journal.segments(after: sending.state.applied.sequence, through: .init(.max)).first?
        .number == number)
    sending.startLink(to: site.endpoint)
    try Self.catchUp(site, sending)
    try Self.expectSame(site, sending)
    #expect(site.jumps.map(\.isWhole) == [true])
  }

  @Test(arguments: UInt64(0)..<4)
  func `a receiver that is too far behind goes on behind what it lacks`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: seed)
    try sending.write(40, &random)
    try sending.applyAll()
    try sending.journal.sealActive()
    try sending.write(10, &random)
    if let job = sending.journal.syncJob() {
      try job.run()
      sending.journal.syncCompleted(job)
    }
    sending.follower.detach()
    let oldest = try #require(sending.journal.oldestNeeded)
    #expect(sending.journal.recycle(before: oldest) > 0)
    sending.follower.reporter.copyFollows(from: .none)
    sending.startLink(to: site.endpoint)
    for _ in 0..<6 {
      try site.step()
      try sending.write(random.below(4), &random)
    }
    try site.run {
      site.baselineEnd != nil && site.group.journal.appended == sending.journal.appended
    }
    #expect(site.jumps.count == 1 && site.jumps.first?.isWhole == true)
    #expect(try site.group.contents() == sending.history.last.disks)
    let monitor = try #require(sending.sender).monitor
    try site.run { monitor.snapshot.state == .connected && monitor.snapshot.syncProgress == nil }
  }

  @Test func aFullCopyThatBreaksGoesOn() throws {
    var random = SeededGenerator(seed: 9)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: 9)
    site.needsBaseline = true
    try sending.write(30, &random)
    try sending.applyAll()
    sending.startLink(to: site.endpoint)
    for _ in 0..<4 {
      site.bytesUntilCut = 200 + random.below(15_000)
      try site.run {
        if !site.isConnected { sending.hurry() }
        return site.bytesUntilCut == nil
      }
      try sending.write(3, &random)
    }
    try site.run {
      if !site.isConnected { sending.hurry() }
      return site.baselineEnd != nil && site.group.journal.appended == sending.journal.appended
    }
    #expect(try site.group.contents() == sending.history.last.disks)
    #expect(site.copies.count > 1 && Set(site.copies).count == 1)
  }

  /// More than one turn of the loop sends, in pieces that are longer than what is left of one.
  @Test func `a full copy of many megabytes takes turns`() throws {
    var random = SeededGenerator(seed: 3)
    let sending = try SendingGroup(
      diskByteCounts: [13 << 20], segmentByteCount: 1 << 20, segmentCount: 24)
    for start in stride(from: 0, to: 13, by: 1) {
      try sending.write(.write(disk: 0, offset: start << 20, random.bytes(200_000)))
    }
    let bytes = random.bytes(13 << 20)
    try unsafe bytes.withUnsafeBytes { try unsafe sending.stores[0].write($0, at: 0) }
    let site = try ReceivingSite(for: sending, seed: 3)
    site.needsBaseline = true
    site.receiveLimit = 1 << 20
    sending.startLink(to: site.endpoint)
    try site.run { site.baselineEnd != nil }
    #expect(site.framesSeen[.baselineData] ?? 0 >= 12)
    let copied = try #require(site.group.stores.first)
    var found = [UInt8](repeating: 0, count: bytes.count)
    try unsafe found.withUnsafeMutableBytes { try unsafe copied.read(into: $0, at: 0) }
    #expect(found == bytes)
  }

  /// A link that is the bottleneck, and data that shrinks.
  @Test func recordsAreCompressedWhereThatPays() throws {
    let sending = try SendingGroup(
      diskByteCounts: [1 << 20], segmentByteCount: 1 << 20, segmentCount: 24)
    let site = try ReceivingSite(for: sending, seed: 1)
    for number in 0..<72 {
      try sending.write(
        .write(
          disk: 0, offset: number % 4 * 200_000,
          [UInt8](repeating: UInt8(number), count: 200_000)))
    }
    sending.startLink(to: site.endpoint)
    try site.run { site.framesSeen[.records] != nil }
    // A peer that is slow: the system's buffers fill up and the sender must wait.
    Thread.sleep(milliseconds: 100)
    try site.run { site.group.journal.appended == sending.journal.appended }
    try Self.expectSame(site, sending)
    #expect(site.framesSeen[.compressedRecords] != nil)
    let snapshot = try #require(sending.sender).monitor.snapshot
    #expect(snapshot.wireByteCount < snapshot.sentByteCount)
  }

  /// What shrinks a hundredfold fills no turn by what is sent.
  @Test func `what is compressed takes turns`() throws {
    let sending = try SendingGroup(
      diskByteCounts: [1 << 20], segmentByteCount: 1 << 20, segmentCount: 100)
    let site = try ReceivingSite(for: sending, seed: 1)
    for number in 0..<400 {
      try sending.write(
        .write(disk: 0, offset: 0, [UInt8](repeating: UInt8(number % 256), count: 200_000)))
    }
    sending.startLink(to: site.endpoint)
    try site.run { site.framesSeen[.records] != nil }
    // A peer that is slow: the system's buffers fill up and the sender must wait.
    Thread.sleep(milliseconds: 100)
    try site.run { site.group.journal.appended == sending.journal.appended }
    #expect(site.framesSeen[.compressedRecords] ?? 0 > 20)
    // Eight chunks when the peer takes something, and as many when the loop comes to it again.
    #expect(sending.turns.most <= 60)
  }

  @Test func stoppingSendsWhatIsAppended() throws {
    var random = SeededGenerator(seed: 2)
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: 2)
    sending.startLink(to: site.endpoint)
    let sender = try #require(sending.sender)
    try site.run { sender.monitor.snapshot.state == .connected }
    try sending.write(30, &random)
    let stopping = Thread(name: "stop") {
      sender.drain(until: SystemClock.monotonicNanoseconds() + 5_000_000_000)
      sender.stop()
    }
    try site.run {
      if site.group.journal.appended == sending.journal.appended { try site.group.sync() }
      return sender.monitor.snapshot.state == .stopped
    }
    stopping.join()
    try Self.expectSame(site, sending)
  }

  /// It may hang, and the journal is made durable after the links have ended.
  @Test func `a stop does not wait for what the link reads`() throws {
    let sending = try SendingGroup(diskByteCounts: Self.disks)
    let site = try ReceivingSite(for: sending, seed: 2)
    site.needsBaseline = true
    let (isReading, goesOn) = (Monitor(false), Monitor(false))
    defer { goesOn.update { $0 = true } }
    try unsafe [UInt8](repeating: 7, count: 4096).withUnsafeBytes {
      try unsafe sending.stores[0].write($0, at: 0)
    }
    sending.stores[0].onRead.set {
      isReading.update { $0 = true }
      goesOn.wait { $0 ? () : nil }
    }
    sending.startLink(to: site.endpoint)
    let sender = try #require(sending.sender)
    try site.run { isReading.withLock { $0 } }
    let isStopped = Monitor(false)
    Thread(name: "stop") {
      sender.stop()
      isStopped.update { $0 = true }
    }.detach()
    try eventually("the link is stopped") { isStopped.withLock { $0 } }
  }
}
