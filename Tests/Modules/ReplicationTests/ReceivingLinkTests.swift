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
    site: "east", groupName: "g", group: GroupIdentifier(high: 1, low: 2), lineage: Lineage(),
    segmentByteCount: 64 << 10, disks: [.init(name: "disk", byteCount: 1 << 20)])

  enum State: String, CaseIterable {
    case greeted, agreeing, resetting, streaming, copying, following
  }

  private static func link(_ state: State) throws -> ReceivingLink {
    var link = ReceivingLink(hello, diskByteCounts: [1 << 20])
    if state == .greeted { return link }
    link.welcomed()
    if state == .agreeing { return link }
    if state == .streaming {
      _ = try take(&link, .begin)
      return link
    }
    _ = try take(&link, .copyBegin, argument: 5)
    if state == .resetting { return link }
    link.baselineReady()
    if state == .copying { return link }
    _ = try take(&link, .baselineBegin, argument: 40)
    link.baselineReady()
    return link
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
    case .baselineZeros: return piece.encoded()
    case .baselineEnd: return [0, 0, 0, 0, 0, 0, 0, 9]
    case .compressedRecords: return [0, 0, 0, 28, 1]
    case .diverged: return Array("diverged".utf8)
    default: return []
    }
  }

  private static let kinds: [LinkFrameKind] = [
    .hello, .begin, .cut, .baselineBegin, .baselineData, .baselineZeros, .baselineEnd, .segment,
    .records, .compressedRecords, .heartbeat, .durable, .diverged, .copyBegin, .baselineConfirm,
    .compressedBaseline, .welcome, .refused, .progress, .alive, .baselineStored,
  ]

  private static let always: [LinkFrameKind: String] = [
    .hello: "skip", .segment: "segment", .records: "skip", .compressedRecords: "packedRecords",
    .heartbeat: "heartbeat", .durable: "ownerDurable",
  ]
  private static let copied: [LinkFrameKind: String] = [
    .baselineData: "piece", .baselineZeros: "piece", .compressedBaseline: "piece",
    .baselineConfirm: "confirm",
  ]

  /// What is taken; anything else ends the connection.
  private static let taken: [State: [LinkFrameKind: String]] = [
    .greeted: [:], .resetting: [:],
    .agreeing: [
      .begin: "begin", .cut: "cut", .copyBegin: "copy", .diverged: "diverged",
    ],
    .streaming: always,
    .copying: always.merging(copied) { $1 }.merging([.baselineBegin: "follow"]) { $1 },
    .following: always.merging(copied) { $1 }.merging([.baselineEnd: "endCopy"]) { $1 },
  ]

  @Test(arguments: State.allCases)
  func `in each state each kind of message has its outcome`(state: State) throws {
    for kind in Self.kinds {
      var link = try Self.link(state)
      let argument = kind == .records || kind == .compressedRecords ? Self.position.argument : 7
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

  @Test func `nothing is taken while the journal is set back`() throws {
    for state in State.allCases {
      #expect(try Self.link(state).isPaused == (state == .resetting), "\(state)")
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
    link.pieceWaits(32 << 20)
    #expect(!link.isPaused)
    link.pieceWaits(1)
    #expect(link.isPaused)
    link.pieceStored(1)
    #expect(!link.isPaused)
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
    #expect(try link.took(40, of: 60))
    // The rest of a record is awaited, unless the frame has no more.
    #expect(try !link.took(0, of: 20))
    #expect(throws: LinkError.self) { try link.took(0, of: 60) }
    #expect(try link.took(60, of: 60))
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

  @Test func `a piece outside of its disk ends the connection`() throws {
    for (disk, start) in [(1, 0), (0, 1 << 20), (0, (1 << 20) - 3)] {
      var link = try Self.link(.copying)
      let piece = BaselinePiece(
        disk: DiskNumber(UInt16(disk)), range: ByteRange(start: UInt64(start), length: 4),
        applied: .none)
      #expect(throws: LinkError.self) { try Self.take(&link, .baselineZeros, piece.encoded()) }
    }
  }
}
