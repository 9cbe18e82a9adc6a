import BlockModel
import Journal
import SystemIO
import TestSupport
import Testing

@testable import Appliance
@testable import Replication

/// Proves that a peer which was accepted cannot become another one on the same connection, and that
/// nothing it says later comes into the log or the state file as it is.
@Suite(.scratch) struct LinkReceiverTests {
  private static let hello = LinkHello(
    site: "east", receiver: "west", groupName: "g", group: GroupIdentifier(high: 1, low: 2),
    lineage: Lineage(),
    segmentByteCount: 64 << 10, disks: [.init(name: "disk", byteCount: 1 << 20)])

  struct Change: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let make: @Sendable (inout LinkHello) -> Void

    init(_ testDescription: String, _ make: @escaping @Sendable (inout LinkHello) -> Void) {
      self.testDescription = testDescription
      self.make = make
    }
  }

  /// Says hello and begins a full copy; what is sent then finds the link streaming.
  private func beginCopy(_ site: LinkedHost) throws -> PeerChannel {
    let channel = try PeerChannel(connectingTo: site.endpoint)
    try channel.send(LinkFrame(.hello), Self.hello.encoded())
    #expect(try channel.receive(timeoutMilliseconds: 10_000)?.0.kind == .welcome)
    try channel.send(LinkFrame(.copyBegin, argument: 1), [])
    return channel
  }

  /// The next frame that is no report of progress; nil when the connection ends first.
  private func answer(_ channel: PeerChannel) -> (LinkFrame, [UInt8])? {
    while let found = try? channel.receive(timeoutMilliseconds: 10_000) {
      if found.0.kind != .progress, found.0.kind != .alive { return found }
    }
    return nil
  }

  static let others: [Change] = [
    Change("site") { $0.site = "east: all is well\nwest" },
    Change("receiver") { $0.receiver = "north" },
    Change("group's name") { $0.groupName = "h" },
    Change("group") { $0.group = GroupIdentifier(high: 3, low: 4) },
    Change("disk") { $0.disks[0].name = "disk\n" },
    Change("another disk, of no name") {
      $0.disks.append(.init(number: .init(1), name: "a\nb", byteCount: 1))
      $0.nextDisk = 2
    },
    Change("segment size") { $0.segmentByteCount = 128 << 10 },
    Change("history") {
      $0.lineage.begin(after: .init(SequenceNumber(7), .zero), term: 1, replacingNewest: false)
    },
  ]

  @Test(arguments: others)
  func `a second hello that names something else ends the connection`(change: Change) throws {
    let site = try LinkedHost(ScratchDirectory())
    let channel = try beginCopy(site)
    var other = Self.hello
    change.make(&other)
    try channel.send(LinkFrame(.hello), other.encoded())
    // Would put the group into the state file.
    try channel.send(LinkFrame(.baselineBegin, argument: 0), [])
    let (frame, body) = try #require(answer(channel))
    #expect(frame.kind == .refused)
    #expect(String(decoding: body, as: UTF8.self).contains("only the disks"))
    #expect(answer(channel) == nil, "the connection goes on")
    channel.shutDown()
    site.close()
    #expect(site.host.prepared?.stateKeeper?.state.group == Self.hello.group)
    #expect(site.log.allSatisfy { !$0.contains("all is well") }, "\(site.log)")
  }

  @Test func `a second hello tells that disks have grown`() throws {
    let site = try LinkedHost(ScratchDirectory())
    let channel = try beginCopy(site)
    var larger = Self.hello
    larger.disks[0].byteCount = 2 << 20
    try channel.send(LinkFrame(.hello), larger.encoded())
    try channel.send(LinkFrame(.baselineConfirm, argument: 5), [])
    let (frame, _) = try #require(answer(channel))
    #expect(frame.kind == .baselineStored && frame.argument == 5)
    channel.shutDown()
    site.close()
  }

  @Test(arguments: [(0, 1 << 20), (0, (1 << 20) - 3), (1, 0)])
  func `a piece that has no place on a disk ends the connection`(disk: Int, start: Int) throws {
    let site = try LinkedHost(ScratchDirectory())
    let channel = try beginCopy(site)
    let piece = BaselinePiece(
      disk: DiskNumber(UInt16(disk)), range: ByteRange(start: UInt64(start), length: 4),
      applied: .none)
    try channel.send(LinkFrame(.baselineZeros), piece.encoded())
    try channel.send(LinkFrame(.baselineConfirm, argument: 5), [])
    #expect(answer(channel) == nil, "the connection goes on")
    channel.shutDown()
    site.close()
  }

  /// Zeros it does not tell, of holes, and of data.
  @Test func `it says what the disk holds that a full copy is to write over`() throws {
    let scratch = try ScratchDirectory()
    let site = try LinkedHost(scratch)
    let block = Int(BlockDigest.blockByteCount)
    let raw = try File(opening: scratch.file("disk.raw"), .readWrite)
    for (start, byte) in [(3, UInt8(7)), (4, 0), (5, 8)] {
      let bytes = [UInt8](repeating: byte, count: block)
      try unsafe bytes.withUnsafeBytes { try unsafe raw.write($0, at: UInt64(start * block)) }
    }
    let channel = try beginCopy(site)
    let all = DiskExtent(DiskNumber(0), ByteRange(start: 0, length: 1 << 20))
    try channel.send(LinkFrame(.compare), LinkMessage.encodeLacking([all]))
    var found: [(position: UInt64, digests: [BlockDigest])] = []
    while found.last.map({ $0.position < 16 }) ?? true {
      let (frame, body) = try #require(answer(channel))
      guard frame.kind == .digests else { continue }
      let (digests, position) = try LinkMessage.decodeDigests(body)
      found.append((position.offset / UInt64(block), digests))
    }
    let expected = [(3, UInt8(7)), (5, 8)].map { start, byte in
      (
        UInt64(start),
        BlockDigest(of: [UInt8](repeating: byte, count: block), byteCount: UInt64(block))
      )
    }
    let told = found.flatMap { found in
      found.digests.enumerated().map { (found.position + UInt64($0.offset), $0.element) }
    }
    #expect(told.elementsEqual(expected) { $0 == $1 })
    // What is not on a disk cannot be alike.
    let piece = BaselinePiece(
      disk: DiskNumber(0), range: ByteRange(start: 1 << 20, length: 4096), applied: .none)
    try channel.send(LinkFrame(.baselineAlike), piece.encoded())
    while answer(channel) != nil {}
    site.close()
  }

  @Test func `a number that no record has does not become a group's`() throws {
    let site = try LinkedHost(ScratchDirectory())
    let channel = try beginCopy(site)
    try channel.send(LinkFrame(.baselineBegin, argument: .max), [])
    #expect(answer(channel) == nil, "the connection goes on")
    channel.shutDown()
    site.close()
    #expect(site.host.prepared?.stateKeeper?.state.applied.sequence == SequenceNumber.none)
  }

  /// A group that has written each of `payloads`, in one segment, and the bytes of its records.
  private func written(
    _ payloads: [[UInt8]]
  ) throws -> (group: SendingGroup, header: SegmentHeader, records: [UInt8]) {
    let sending = try SendingGroup(diskByteCounts: [1 << 20], segmentByteCount: 64 << 10)
    for payload in payloads { try sending.write(.write(disk: 0, offset: 0, payload)) }
    let segment = try #require(sending.journal.newestSegment)
    var records = [UInt8](repeating: 0, count: segment.end - SegmentHeader.byteCount)
    _ = try unsafe records.withUnsafeMutableBytes {
      try unsafe segment.file.read(into: $0, at: UInt64(SegmentHeader.byteCount))
    }
    return (sending, segment.header, records)
  }

  /// Begins a copy beside which the records of that group follow.
  private func follow(
    _ site: LinkedHost, _ sending: SendingGroup, _ header: SegmentHeader
  ) throws -> (channel: PeerChannel, position: UInt64) {
    let (channel, _) = try greet(site, sending)
    try channel.send(LinkFrame(.copyBegin, argument: 1), [])
    try channel.send(LinkFrame(.baselineBegin, argument: 0), [])
    try channel.send(LinkFrame(.segment), header.encoded())
    let position = StreamPosition(
      segment: header.number, offset: UInt32(SegmentHeader.byteCount))
    return (channel, position.argument)
  }

  private func greet(
    _ site: LinkedHost, _ sending: SendingGroup
  ) throws -> (channel: PeerChannel, welcome: LinkWelcome) {
    let channel = try PeerChannel(connectingTo: site.endpoint)
    var hello = Self.hello
    hello.group = sending.state.group
    hello.lineage = sending.state.lineage
    try channel.send(LinkFrame(.hello), hello.encoded())
    let (frame, body) = try #require(try channel.receive(timeoutMilliseconds: 10_000))
    #expect(frame.kind == .welcome)
    return (channel, try LinkWelcome(decoding: body))
  }

  /// It would be refused again and again, and only this site would know why.
  @Test func `a peer whose record breaks its promise is told so`() throws {
    let (sending, header, records) = try written([[1, 2, 3]])
    let site = try LinkedHost(ScratchDirectory())
    let (channel, position) = try follow(site, sending, header)
    try channel.send(
      LinkFrame(.heartbeat, argument: sending.journal.newestTimestamp.rawValue), [])
    try channel.send(LinkFrame(.records, argument: position), records)
    let (frame, body) = try #require(answer(channel))
    #expect(frame.kind == .refused)
    let text = String(decoding: body, as: UTF8.self)
    #expect(text.contains("record 1 is of") && text.contains("east had promised"), "\(text)")
    #expect(answer(channel) == nil, "the connection goes on")
    #expect(site.host.group != nil, "the group has failed")
    channel.shutDown()
    site.close()
  }

  private func packed(_ records: [UInt8]) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: LZ4.compressedLimit(records.count))
    let count = unsafe records.withUnsafeBytes { source in
      unsafe bytes.withUnsafeMutableBytes { unsafe LZ4.compress(source, into: $0) }
    }
    var body = WireEncoder()
    body.put(UInt32(records.count))
    body.put(Array(bytes.prefix(try #require(count))))
    return body.bytes
  }

  /// Each marker waits, and what comes behind them fills the receive buffer.
  @Test func `a link goes on that waits with a full buffer`() throws {
    let (sending, header, records) = try written([[1, 2, 3]])
    let site = try LinkedHost(ScratchDirectory())
    let (channel, position) = try follow(site, sending, header)
    var all = records
    for _ in 0..<40 { all += try sending.mark(DiskChange(.whole, Self.hello.disks[0])) }
    try channel.send(LinkFrame(.compressedRecords, argument: position), try packed(all))
    for _ in 0..<600_000 / 1000 {
      try channel.send((0..<1000).flatMap { _ in LinkFrame(.heartbeat, argument: 1).encoded })
    }
    try channel.send(LinkFrame(.baselineConfirm, argument: 5), [])
    #expect(answer(channel)?.0.kind == .baselineStored, "the connection has ended")
    channel.shutDown()
    site.close()
  }

  /// They lie in memory that ends with the link.
  @Test func `records that were packed with a bad one are kept as they came`() throws {
    var (sending, header, records) = try written([[1, 2, 3], [4, 5, 6, 7]])
    let whole = Array(records.prefix(RecordHeader.byteCount + 3))
    records[records.count - 1] ^= 1
    let site = try LinkedHost(ScratchDirectory())
    let (channel, position) = try follow(site, sending, header)
    try channel.send(LinkFrame(.compressedRecords, argument: position), try packed(records))
    #expect(answer(channel) == nil, "the connection goes on")
    let (next, welcome) = try greet(site, sending)
    #expect(welcome.last.sequence == SequenceNumber(1))
    #expect(Int(welcome.position.offset) == SegmentHeader.byteCount + whole.count)
    next.shutDown()
    site.close()
    let segment = try #require(site.host.prepared?.journal?.newestSegment)
    var stored = [UInt8](repeating: 0, count: whole.count)
    _ = try unsafe stored.withUnsafeMutableBytes {
      try unsafe segment.file.read(into: $0, at: UInt64(SegmentHeader.byteCount))
    }
    #expect(stored == whole)
  }

  private final class Remembered: @unchecked Sendable {
    weak var link: (any IncomingLink)?
  }

  /// However many come: each would keep its socket as long as the disk hangs.
  @Test func `a link that ends while it waits for a disk leaves nothing behind`() throws {
    let site = try LinkedHost(ScratchDirectory())
    let first = try beginCopy(site)
    try first.send(LinkFrame(.baselineConfirm, argument: 5), [])
    #expect(answer(first)?.0.kind == .baselineStored)
    let group = try #require(site.host.group)
    let hasAnswered = Monitor(false)
    group.lanes.keeper.submit { hasAnswered.wait { $0 ? () : nil } }
    defer { hasAnswered.update { $0 = true } }

    let second = try PeerChannel(connectingTo: site.endpoint)
    try second.send(LinkFrame(.hello), Self.hello.encoded())
    // Of the first, the second takes the place.
    #expect(answer(first) == nil)
    let remembered = Remembered()
    group.loop.perform { remembered.link = group.receiving.receiver }
    #expect(remembered.link != nil)
    second.shutDown()
    try eventually("the link has ended") { group.loop.ask { $0(remembered.link == nil) } ?? false }
  }

  /// The owner has lost power, and its disk has not left it after all.
  @Test func `what a marker said that did not come into the journal is void`() throws {
    let (sending, header, records) = try written([[1, 2, 3]])
    let site = try LinkedHost(ScratchDirectory())
    let (first, position) = try follow(site, sending, header)
    try first.send(LinkFrame(.baselineEnd, argument: 0), [0, 0, 0, 0, 0, 0, 0, 1])
    try first.send(LinkFrame(.records, argument: position), records)
    let group = try #require(site.host.group)
    try eventually("the copy is whole") { group.stateKeeper?.state.baseline == .complete }

    let goesOn = Monitor(false)
    group.lanes.files.submit { goesOn.wait { $0 ? () : nil } }
    defer { goesOn.update { $0 = true } }
    let change = DiskChange(.removed, Self.hello.disks[0])
    let marker = try sending.mark(change)
    try first.send(LinkFrame(.records, argument: position + UInt64(records.count)), marker)
    try eventually("it is about to be noted") {
      group.loop.ask { $0(group.lifecycle.runs(.diskNote)) } ?? false
    }
    let second = try PeerChannel(connectingTo: site.endpoint)
    var hello = Self.hello
    hello.group = sending.state.group
    hello.lineage = sending.state.lineage
    try second.send(LinkFrame(.hello), hello.encoded())
    // Of the first, the second takes the place.
    #expect(answer(first) == nil)
    goesOn.update { $0 = true }
    let (frame, body) = try #require(answer(second))
    #expect(frame.kind == .welcome)
    let welcome = try LinkWelcome(decoding: body)
    #expect(welcome.last.sequence == SequenceNumber(1))
    #expect(welcome.disks.map(\.name) == ["disk"], "it has left")
    #expect(group.disks.map(\.name) == ["disk"])
    #expect(group.stateKeeper?.state.disks.map(\.removed) == [nil])
    second.shutDown()
    site.close()
  }

  @Test func `what a peer says of a divergence is one line of bounded length`() throws {
    let site = try LinkedHost(ScratchDirectory())
    let channel = try PeerChannel(connectingTo: site.endpoint)
    try channel.send(LinkFrame(.hello), Self.hello.encoded())
    #expect(try channel.receive(timeoutMilliseconds: 10_000)?.0.kind == .welcome)
    let text = "diverged\nall is well" + String(repeating: "x", count: 60_000)
    try channel.send(LinkFrame(.diverged), Array(text.utf8))
    #expect(answer(channel) == nil)
    site.close()
    let said = try #require(site.host.prepared?.receiving.divergence)
    #expect(said.hasPrefix("diverged?all is well"))
    #expect(said.unicodeScalars.count == String.sentenceLimit + 1)
  }
}
