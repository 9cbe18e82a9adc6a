import BlockModel
import Journal
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

@testable import Appliance
@testable import Replication

/// Proves that a former owner names what it lacks and says what it has there, no further ahead than
/// is asked for; crosses off what has come, names only the rest to the next connection, and is
/// whole when it is told so and has the record.
@Suite(.scratch) struct GroupReconcilingTests {
  private static let group = GroupIdentifier(high: 1, low: 2)
  private static let owner = Incarnation.numbered(1)
  private static let timestamp = Timestamp(rawValue: 1_000)
  private static let extents = [8, 40, 100].map { page in
    DiskExtent(DiskNumber(0), ByteRange(start: page * 4096, length: 8192))
  }

  private let scratch: ScratchDirectory
  private var folder: String { scratch.file("data/g") }

  /// A folder as `yield` leaves it, of a group whose owner has no record in common with it.
  init() throws {
    scratch = try ScratchDirectory()
    let storage = try FolderStorage(path: scratch.file("data/g"))
    var state = JournalState(
      groupName: "g", group: Self.group, disks: [.init(name: "disk", byteCount: 1 << 20)],
      baseline: .complete)
    state.becomesFollower(after: .origin, lacking: 7)
    try JournalStateFile.create(in: storage).write(state, generation: 1)
    let list = LackingList(
      number: 7, group: Self.group, common: .origin, exactAfter: .unknown, last: .unknown,
      extents: try #require(DiskExtents(checking: Self.extents)))
    try LackingFile.write(list, in: folder)
  }

  private func lack(_ extents: [DiskExtent]) throws {
    let list = LackingList(
      number: 7, group: Self.group, common: .origin, exactAfter: .unknown, last: .unknown,
      extents: try #require(DiskExtents(checking: extents)))
    try LackingFile.write(list, in: folder)
  }

  /// What is said of so many blocks at least, by the position of the first.
  private func digests(
    _ count: Int, _ channel: PeerChannel
  ) throws -> [(position: DiskPosition, digests: [BlockDigest])] {
    var found: [(position: DiskPosition, digests: [BlockDigest])] = []
    var left = count
    while left > 0 {
      let (digests, position) = try LinkMessage.decodeDigests(next(.digests, channel))
      found.append((position, digests))
      left -= digests.count
    }
    return found
  }

  private func state() throws -> JournalState {
    try #require(try GroupOpening.presentState(folder))
  }

  /// To where records can come; what was named.
  private func connect(_ site: LinkedHost, diskByteCount: UInt64 = 1 << 20) throws -> (
    PeerChannel, LinkWelcome
  ) {
    let channel = try PeerChannel(connectingTo: site.endpoint)
    let hello = LinkHello(
      site: "east", receiver: "west", groupName: "g", group: Self.group,
      lineage: Lineage([Self.owner]), last: LastRecord(SequenceNumber(1), Self.timestamp),
      segmentByteCount: 64 << 10, disks: [.init(name: "disk", byteCount: diskByteCount)])
    try channel.send(LinkFrame(.hello), hello.encoded())
    return (channel, try LinkWelcome(decoding: try next(.welcome, channel)))
  }

  private func next(_ kind: LinkFrameKind, _ channel: PeerChannel) throws -> [UInt8] {
    // That it is there, it says each second.
    let others: [LinkFrameKind] = [.progress, .alive, .lacking, .lackingEnd, .digests]
    for _ in 0..<20 {
      guard let (frame, body) = try channel.receive(timeoutMilliseconds: 10_000) else { break }
      if frame.kind == kind { return body }
      try #require(others.contains(frame.kind), "\(frame)")
    }
    throw RigError("no \(kind) comes")
  }

  /// The owner's one record.
  private func sendRecord(_ channel: PeerChannel) throws {
    let header = SegmentHeader(
      identity: SegmentIdentity(group: Self.group, incarnation: Self.owner, number: 1),
      segmentByteCount: 64 << 10, firstSequence: SequenceNumber(1), firstTimestamp: Self.timestamp)
    try channel.send(LinkFrame(.segment, argument: 1 << 32), header.encoded())
    var bytes = [UInt8](repeating: 5, count: RecordHeader.byteCount + 512)
    unsafe bytes.withUnsafeMutableBytes { record in
      guard let base = record.baseAddress else { return }
      unsafe RecordHeader(
        disk: DiskNumber(0), kind: .write, timestamp: Self.timestamp, offset: 8 * 4096, length: 512
      ).encode(sealing: base, checksumStart: header.identity.checksumSeed)
    }
    let position = StreamPosition(segment: 1, offset: UInt32(SegmentHeader.byteCount))
    try channel.send(LinkFrame(.records, argument: position.argument), bytes)
  }

  @Test func `what has come is not named again, and the end is the end`() throws {
    let site = try LinkedHost(scratch)
    let group = try #require(site.host.group)
    // What it does from time to time, it does here, too.
    group.loop.post { group.begin() }
    let (first, welcome) = try connect(site)
    #expect(!welcome.needsBaseline && !welcome.needsCopy)
    #expect(welcome.lacksAfter == SequenceNumber.none)
    try first.send(LinkFrame(.begin))
    #expect(
      try LinkMessage.decodeLacking(next(.lacking, first)) == Self.extents)
    _ = try next(.lackingEnd, first)
    try sendRecord(first)
    let reached = DiskPosition(DiskNumber(0), 41 * 4096)
    try first.send(LinkFrame(.restamped, argument: 1), LinkMessage.encodePosition(reached))
    // Of a record that does not come.
    let beyond = DiskPosition(DiskNumber(0), 1 << 20)
    try first.send(LinkFrame(.restamped, argument: 2), LinkMessage.encodePosition(beyond))
    // In memory it is when it is durable.
    try eventually("it is crossed off") {
      group.stateKeeper?.state.lack.record == SequenceNumber(1)
    }
    #expect(try state().lack == .init(list: 7, reached: reached, by: SequenceNumber(1)))
    first.shutDown()
    let (second, again) = try connect(site)
    #expect(again.last.sequence == SequenceNumber(1))
    try second.send(LinkFrame(.begin))
    let rest = [
      DiskExtent(DiskNumber(0), ByteRange(start: 41 * 4096, length: 4096)), Self.extents[2],
    ]
    #expect(try LinkMessage.decodeLacking(next(.lacking, second)) == rest)
    #expect(try state().baseline == .reconciling)
    try second.send(
      LinkFrame(.reconciled, argument: 1), LinkMessage.encodeTimestamp(Self.timestamp))
    try eventually("it is whole") { try state().baseline == .complete }
    let whole = try state()
    #expect(whole.lack == .none && whole.historyStart == Self.timestamp)
    #expect(whole.applyTarget == .init(SequenceNumber(1), Self.timestamp))
    try eventually("the list is gone") { try LackingFile.read(in: folder) == nil }
    site.close()
  }

  @Test func `it says what it has, block by block`() throws {
    let block = Int(BlockDigest.blockByteCount)
    try lack([
      DiskExtent(DiskNumber(0), ByteRange(start: 4096, end: UInt64(2 * block))),
      DiskExtent(DiskNumber(0), ByteRange(start: UInt64(5 * block), end: UInt64(6 * block))),
    ])
    let site = try LinkedHost(scratch)
    var content = [UInt8](repeating: 0, count: 2 * block)
    for index in content.indices { content[index] = UInt8(truncatingIfNeeded: index / 512 + 1) }
    let raw = try File(opening: scratch.file("disk.raw"), .readWrite)
    try unsafe content.withUnsafeBytes { try unsafe raw.write($0, at: 0) }
    let (channel, _) = try connect(site)
    try channel.send(LinkFrame(.begin))
    let found = try digests(3, channel)
    let expected = [content[4096..<block], content[block...]].map {
      BlockDigest(of: Array($0), byteCount: UInt64($0.count))
    }
    #expect(found.flatMap(\.digests) == expected + [.zeroBlock])
    #expect(found.first?.position == DiskPosition(DiskNumber(0), 4096))
    site.close()
  }

  @Test func `it is not further ahead than is asked for`() throws {
    let count = DigestWindow.limit + 1000
    try lack(
      (0..<count).map {
        DiskExtent(DiskNumber(0), ByteRange(start: UInt64($0) * 32, length: 16))
      })
    let site = try LinkedHost(scratch)
    let group = try #require(site.host.group)
    group.loop.post { group.begin() }
    let (channel, _) = try connect(site)
    try channel.send(LinkFrame(.begin))
    let least = DigestWindow.limit - 256
    var told = try digests(least, channel).reduce(0) { $0 + $1.digests.count }
    // That it is there, it says each second.
    while let (frame, body) = try channel.receive(timeoutMilliseconds: 300) {
      if frame.kind == .digests { told += try LinkMessage.decodeDigests(body).digests.count }
    }
    #expect(told <= DigestWindow.limit)
    let reached = DiskPosition(DiskNumber(0), UInt64(told) * 32)
    try channel.send(LinkFrame(.restamped, argument: 1), LinkMessage.encodePosition(reached))
    told += try digests(count - told, channel).reduce(0) { $0 + $1.digests.count }
    #expect(told == count)
    site.close()
  }

  @Test func `what cannot be read is left out`() throws {
    let end = UInt64(1 << 20)
    try lack([
      DiskExtent(DiskNumber(0), ByteRange(start: 0, length: 4096)),
      DiskExtent(DiskNumber(0), ByteRange(start: end - 4096, end: end + 4096)),
      DiskExtent(DiskNumber(9), ByteRange(start: 0, length: 4096)),
    ])
    let site = try LinkedHost(scratch)
    let group = try #require(site.host.group)
    group.loop.post { group.begin() }
    let (channel, _) = try connect(site, diskByteCount: 2 << 20)
    try channel.send(LinkFrame(.begin))
    // The block before the end of the disk here can be read; the one that is behind cannot.
    let found = try digests(2, channel)
    #expect(found.flatMap(\.digests) == [.zeros(4096), .zeros(4096)])
    let (none, unread) = try LinkMessage.decodeDigests(next(.digests, channel))
    #expect(none.isEmpty && unread == DiskPosition(DiskNumber(0), end + 4096))
    let (nothing, gone) = try LinkMessage.decodeDigests(next(.digests, channel))
    #expect(nothing.isEmpty && gone == DiskPosition(DiskNumber(9), .max))
    site.close()
  }

  @Test func `what lies behind the owner's disk takes a full copy`() throws {
    let site = try LinkedHost(scratch)
    let (_, welcome) = try connect(site, diskByteCount: 101 * 4096)
    #expect(welcome.needsCopy)
    site.close()
  }
}
