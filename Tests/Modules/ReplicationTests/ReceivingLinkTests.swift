import BlockModel
import Journal
import JournalTestSupport
import SystemIO
import Testing

@testable import Replication

/// Proves what the receiving end of a link takes in each of its states, that everything else ends
/// the connection, and that it takes nothing while it must wait.
@Suite struct ReceivingLinkTests {
  private static let position = StreamPosition(segment: 3, offset: 8192)
  private static let place = ReceivingLink.Place(position, hasFreeSegment: true)

  private static let hello = LinkHello(
    site: "east", receiver: "west", groupName: "g", group: GroupIdentifier(high: 1, low: 2),
    lineage: Lineage(),
    segmentByteCount: 64 << 10, disks: [.init(name: "disk", byteCount: 1 << 20)])

  enum State: String, CaseIterable {
    case greeted, agreeing, resetting, streaming, copying, following
    /// The peer has named what it compares of a full copy.
    case comparing
    /// The peer was told what is lacking here.
    case reconciling
    /// In the middle of a frame of records, and of records that were packed.
    case inRecords, inPlain
    /// The same, before a marker of a disk.
    case inRecordsBeforeDisk, inPlainBeforeDisk

    var isPaused: Bool {
      self == .resetting || self == .inRecordsBeforeDisk || self == .inPlainBeforeDisk
    }
  }

  private static func link(_ state: State) throws -> ReceivingLink {
    var link = ReceivingLink(hello)
    if state == .greeted { return link }
    link.welcomed()
    if state == .agreeing { return link }
    let beginning: [State] = [
      .streaming, .reconciling, .inRecords, .inPlain, .inRecordsBeforeDisk, .inPlainBeforeDisk,
    ]
    if beginning.contains(state) {
      try take(&link, .begin)
      if state == .reconciling { link.toldLacking() }
      try beginRecords(&link, state)
      return link
    }
    _ = try take(&link, .copyBegin, argument: 5)
    if state == .resetting { return link }
    link.baselineReady()
    if state == .copying { return link }
    if state == .comparing {
      try take(&link, .compare)
      return link
    }
    _ = try take(&link, .baselineBegin, argument: 40)
    link.baselineReady()
    return link
  }

  private static func beginRecords(_ link: inout ReceivingLink, _ state: State) throws {
    switch state {
    case .inRecords, .inRecordsBeforeDisk:
      let frame = LinkFrame(.records, bodyByteCount: 1000, argument: position.argument)
      try take(&link, frame.encoded)
      if state == .inRecordsBeforeDisk { _ = try link.took(40, of: 60, isBeforeDisk: true) }
    case .inPlain, .inPlainBeforeDisk:
      let body = try body(of: .compressedRecords)
      try take(&link, .compressedRecords, body, argument: position.argument)
      if state == .inPlainBeforeDisk { _ = try link.took(10, of: 28, isBeforeDisk: true) }
    default: break
    }
  }

  /// The step in words.
  @discardableResult
  private static func take(
    _ link: inout ReceivingLink, _ kind: LinkFrameKind, _ body: [UInt8] = [],
    argument: UInt64 = 0, _ place: ReceivingLink.Place = place
  ) throws -> String {
    let frame = LinkFrame(kind, bodyByteCount: body.count, argument: argument)
    return try take(&link, frame.encoded + body, place)
  }

  @discardableResult
  private static func take(
    _ link: inout ReceivingLink, _ arrived: [UInt8], _ place: ReceivingLink.Place = place
  ) throws -> String {
    try unsafe arrived.withUnsafeBytes { bytes in
      let step = try unsafe link.next(bytes, place)
      return String("\(step)".prefix { $0.isLetter })
    }
  }

  /// A frame of each kind that is well-formed.
  private static func body(of kind: LinkFrameKind) throws -> [UInt8] {
    let piece = BaselinePiece(
      disk: DiskNumber(0), range: ByteRange(start: 0, length: 4), applied: .none)
    switch kind {
    case .hello: return hello.encoded()
    case .segment:
      let incarnation = Incarnation.numbered(1)
      return SegmentHeader(
        identity: SegmentIdentity(group: hello.group, incarnation: incarnation, number: 4),
        segmentByteCount: 64 << 10, firstSequence: SequenceNumber(1),
        firstTimestamp: Timestamp(rawValue: 1)
      ).encoded()
    case .baselineData, .compressedBaseline: return piece.encoded() + [1, 2, 3, 4]
    case .baselineZeros, .baselineAlike: return piece.encoded()
    case .baselineEnd, .reconciled: return [0, 0, 0, 0, 0, 0, 0, 9]
    case .restamped: return [UInt8](repeating: 0, count: 10)
    case .jump: return [UInt8](repeating: 0, count: 24)  // To the origin, lacking nothing.
    case .compressedRecords: return [0, 0, 0, 28, 1]
    case .diverged: return Array("diverged".utf8)
    default: return []
    }
  }

  private static let kinds: [LinkFrameKind] = [
    .hello, .begin, .cut, .baselineBegin, .baselineData, .baselineZeros, .baselineEnd, .segment,
    .records, .compressedRecords, .heartbeat, .durable, .diverged, .copyBegin, .baselineConfirm,
    .compressedBaseline, .restamped, .reconciled, .owed, .jump, .welcome, .refused, .progress,
    .alive, .baselineStored, .lacking, .lackingEnd, .digests, .compare, .baselineAlike,
  ]

  private static let always: [LinkFrameKind: String] = [
    .hello: "skip", .segment: "segment", .records: "skip", .compressedRecords: "packedRecords",
    .heartbeat: "heartbeat", .durable: "ownerDurable",
  ]
  private static let copied: [LinkFrameKind: String] = [
    .baselineData: "piece", .baselineZeros: "piece", .compressedBaseline: "piece",
    .baselineConfirm: "confirm",
  ]

  private static func all(_ step: String) -> [LinkFrameKind: String] {
    Dictionary(uniqueKeysWithValues: kinds.map { ($0, step) })
  }

  /// What is taken; anything else ends the connection.
  private static let taken: [State: [LinkFrameKind: String]] = [
    .greeted: [:], .resetting: all("await"),
    .agreeing: [
      .begin: "begin", .cut: "cut", .copyBegin: "copy", .diverged: "diverged", .owed: "skip",
      .jump: "jump",
    ],
    .streaming: always,
    .reconciling: always.merging([.restamped: "restamped", .reconciled: "reconciled"]) { $1 },
    // The frame says that others follow.
    .copying: always.merging(copied) { $1 }
      .merging([.baselineBegin: "follow", .compare: "skip"]) { $1 },
    .comparing: always.merging(copied) { $1 }
      .merging([.baselineBegin: "follow", .baselineAlike: "alike"]) { $1 },
    .following: always.merging(copied) { $1 }.merging([.baselineEnd: "endCopy"]) { $1 },
    // What arrives is no frame, or waits behind what is left.
    .inRecords: all("records"), .inPlain: all("plainRecords"),
    .inRecordsBeforeDisk: all("await"), .inPlainBeforeDisk: all("await"),
  ]

  @Test(arguments: State.allCases)
  func `in each state each kind of message has its outcome`(state: State) throws {
    for kind in Self.kinds {
      var link = try Self.link(state)
      let argument: UInt64 =
        switch kind {
        case .records, .compressedRecords: Self.position.argument
        case .jump: 0
        default: 7
        }
      let body = try Self.body(of: kind)
      if let expected = Self.taken[state]?[kind] {
        #expect(try Self.take(&link, kind, body, argument: argument) == expected, "\(kind)")
      } else {
        #expect(throws: LinkError.self, "\(kind)") {
          try Self.take(&link, kind, body, argument: argument)
        }
      }
    }
  }

  @Test(arguments: State.allCases)
  func `nothing is read while the journal is set back or a disk is awaited`(state: State) throws {
    #expect(try Self.link(state).isPaused == state.isPaused)
  }

  @Test func `what is compared comes in order, in one frame or several, and on the disks`() throws {
    func ranges(_ starts: [UInt64], disk: UInt16 = 0) -> [UInt8] {
      LinkMessage.encodeLacking(
        starts.map { DiskExtent(DiskNumber(disk), ByteRange(start: $0, length: 64 << 10)) }[...])
    }
    var link = try Self.link(.copying)
    #expect(try Self.take(&link, .compare, ranges([0]), argument: 2) == "skip")
    let frame = ranges([128 << 10, 960 << 10])
    let bytes = LinkFrame(.compare, bodyByteCount: frame.count).encoded + frame
    let step = try unsafe bytes.withUnsafeBytes { try unsafe link.next($0, Self.place) }
    guard case .compare(let extents) = step else { throw LinkError.protocolViolation("\(step)") }
    #expect(extents.extents.map(\.range.start) == [0, 128 << 10, 960 << 10])
    for wrong in [ranges([64 << 10, 0]), ranges([961 << 10]), ranges([0], disk: 1)] {
      var link = try Self.link(.copying)
      #expect(throws: LinkError.self) { try Self.take(&link, .compare, wrong) }
    }
  }

  // MARK: Waiting

  @Test func `a segment for which there is no file waits until it is told to go on`() throws {
    var link = try Self.link(.streaming)
    let full = ReceivingLink.Place(Self.position, hasFreeSegment: false)
    let body = try Self.body(of: .segment)
    #expect(try Self.take(&link, .segment, body, full) == "awaitRoom")
    #expect(link.waitsForRoom && link.isPaused && link.stepByteCount == 0)
    link.resume()
    #expect(!link.isPaused)
    #expect(try Self.take(&link, .segment, body) == "segment")
    #expect(link.stepByteCount == LinkFrame.byteCount + body.count)
  }

  @Test func `pieces that wait to be written are bounded`() throws {
    var link = try Self.link(.copying)
    link.pieceWaits((32 << 20) - 1024)
    #expect(!link.isPaused)
    link.pieceWaits(1024)
    #expect(link.isPaused)
    link.pieceStored(1024)
    #expect(!link.isPaused)
  }

  @Test func `pieces that bring nothing are bounded, too`() throws {
    var link = try Self.link(.copying)
    var count = 0
    while !link.isPaused, count < 1 << 20 {
      link.pieceWaits(0)
      count += 1
    }
    #expect(link.isPaused)
    for _ in 0..<count { link.pieceStored(0) }
    #expect(!link.isPaused)
  }

  @Test func `what is lacking comes to an end once, and is said in full`() throws {
    for kind in [LinkFrameKind.restamped, .reconciled] {
      for body: [UInt8] in [[], [UInt8](repeating: 0, count: 7)] {
        var link = try Self.link(.reconciling)
        #expect(throws: LinkError.self) { try Self.take(&link, kind, body) }
      }
    }
    var link = try Self.link(.reconciling)
    let end = try Self.body(of: .reconciled)
    #expect(try Self.take(&link, .reconciled, end) == "reconciled")
    #expect(throws: LinkError.self) { try Self.take(&link, .reconciled, end) }
  }

  @Test func `one question at a time is answered`() throws {
    var link = try Self.link(.copying)
    try Self.take(&link, .baselineConfirm, argument: 1)
    #expect(throws: LinkError.self) { try Self.take(&link, .baselineConfirm, argument: 2) }
    link = try Self.link(.copying)
    try Self.take(&link, .baselineConfirm, argument: 1)
    link.confirmed()
    #expect(try Self.take(&link, .baselineConfirm, argument: 2) == "confirm")
  }

  // MARK: Records

  @Test func `records are taken as they arrive, and the frame's end is known`() throws {
    var link = try Self.link(.streaming)
    let frame = LinkFrame(.records, bodyByteCount: 100, argument: Self.position.argument)
    #expect(try Self.take(&link, Array(frame.encoded.dropLast())) == "await")
    #expect(try Self.take(&link, frame.encoded) == "skip")
    #expect(link.stepByteCount == LinkFrame.byteCount)
    #expect(try Self.take(&link, [UInt8](repeating: 1, count: 60)) == "records")
    #expect(try link.took(40, of: 60, isBeforeDisk: false))
    // The rest of a record is awaited, unless the frame has no more.
    #expect(try !link.took(0, of: 20, isBeforeDisk: false))
    #expect(throws: LinkError.self) { try link.took(0, of: 60, isBeforeDisk: false) }
    #expect(try link.took(60, of: 60, isBeforeDisk: false))
    #expect(try Self.take(&link, .heartbeat) == "heartbeat")
  }

  @Test func `records that do not continue what is here end the connection`() throws {
    for position in [
      StreamPosition(segment: 3, offset: 8193), StreamPosition(segment: 4, offset: 8192),
    ] {
      for kind in [LinkFrameKind.records, .compressedRecords] {
        var link = try Self.link(.streaming)
        let body = try Self.body(of: kind)
        #expect(throws: LinkError.self) {
          try Self.take(&link, kind, body, argument: position.argument)
        }
      }
    }
  }

  @Test func `what was packed is taken in parts, and ends with a record`() throws {
    var link = try Self.link(.inPlain)
    #expect(try Self.plainLeft(&link) == 0..<28)
    #expect(try link.took(28, of: 28, isBeforeDisk: false))
    #expect(try Self.take(&link, .heartbeat) == "heartbeat")
    link = try Self.link(.inPlain)
    #expect(throws: LinkError.self) { try link.took(27, of: 28, isBeforeDisk: false) }
  }

  @Test func `packed records that are longer than any are not unpacked`() throws {
    for (count, isTaken) in [(2 << 20, true), (2 << 20 + 1, false)] {
      var link = try Self.link(.streaming)
      var encoder = WireEncoder()
      encoder.put(UInt32(count))
      let body = encoder.bytes + [1]
      let step = try? Self.take(
        &link, .compressedRecords, body, argument: Self.position.argument)
      #expect(step == (isTaken ? "packedRecords" : nil))
    }
  }

  // MARK: Disks

  @Test func `records before a marker are taken, and the marker once its disk is ready`() throws {
    var link = try Self.link(.inRecordsBeforeDisk)
    // Room is no disk.
    link.resume()
    #expect(link.isPaused && link.waitsForDisk)
    #expect(try Self.take(&link, [1, 2]) == "await")
    link.diskReady()
    #expect(!link.isPaused)
    #expect(try Self.take(&link, [UInt8](repeating: 1, count: 960)) == "records")
    #expect(try link.took(960, of: 960, isBeforeDisk: false))
    #expect(try Self.take(&link, .heartbeat) == "heartbeat")
  }

  @Test func `a marker that comes first in what arrived is no end in the middle`() throws {
    var link = try Self.link(.inRecords)
    #expect(try !link.took(0, of: 1000, isBeforeDisk: true))
    link.diskReady()
    #expect(try link.took(1000, of: 1000, isBeforeDisk: false))
  }

  @Test func `records that were packed go on behind the marker`() throws {
    var link = try Self.link(.inPlainBeforeDisk)
    #expect(link.waitsForDisk)
    link.diskReady()
    #expect(try Self.plainLeft(&link) == 10..<28)
    // Another one comes next.
    #expect(try !link.took(0, of: 18, isBeforeDisk: true))
    link.diskReady()
    #expect(try Self.plainLeft(&link) == 10..<28)
    #expect(try link.took(18, of: 18, isBeforeDisk: false))
    #expect(try Self.take(&link, .heartbeat) == "heartbeat")
  }

  private static func plainLeft(_ link: inout ReceivingLink) throws -> Range<Int>? {
    let step = try unsafe link.next(UnsafeRawBufferPointer(start: nil, count: 0), place)
    guard case .plainRecords(let range) = step else { return nil }
    return range
  }

  @Test func `a peer that greets again may name other disks, and nothing else`() throws {
    var again = Self.hello
    again.last = LastRecord(SequenceNumber(9), Timestamp(rawValue: 9))
    again.disks = [
      .init(name: "disk", byteCount: 2 << 20),
      .init(number: DiskNumber(4), name: "more", byteCount: 1 << 20),
    ]
    again.nextDisk = 5
    var link = try Self.link(.streaming)
    #expect(try Self.take(&link, .hello, again.encoded()) == "skip")
    #expect(link.hello == again)
    // What was told last counts.
    again.disks[1].name = "other"
    #expect(throws: LinkError.self) { try Self.take(&link, .hello, again.encoded()) }
    // One that has left is named no more.
    again.disks = [again.disks[0]]
    #expect(try Self.take(&link, .hello, again.encoded()) == "skip")
    for change in [\LinkHello.site, \.receiver, \.groupName] {
      var other = again
      other[keyPath: change] = "north"
      #expect(throws: LinkError.self) { try Self.take(&link, .hello, other.encoded()) }
    }
    #expect(link.hello == again)
  }
}
