import BlockModel
import Journal
import JournalTestSupport
import Replication
import TestSupport
import Testing

/// Proves that what the two sites tell each other arrives as it was said, and that bytes which are
/// no such message are refused without a trap.
struct LinkMessageTests {
  /// One message, hidden behind its bytes: what decodes them and encodes the outcome again.
  struct Message: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let bytes: [UInt8]
    let decodeAndEncode: @Sendable ([UInt8]) throws -> [UInt8]
  }

  static let last = LastRecord(
    SequenceNumber(1_000_000), Timestamp(rawValue: 1_795_000_000_000_000_001),
    position: StreamPosition(segment: 12, offset: 36_000), checksum: 0x89AB_CDEF)
  static let hello = LinkHello(
    site: "east", receiver: "west", groupName: "größe", group: GroupIdentifier(high: 7, low: .max),
    lineage: Lineage([.numbered(1), .numbered(3, after: 20, at: 7)]), last: last,
    segmentByteCount: 64 << 20,
    disks: [
      .init(name: "root", byteCount: 1 << 40),
      .init(number: DiskNumber(7), name: "", byteCount: 0),
    ])
  static let welcome = LinkWelcome(
    site: "west", needsBaseline: true, needsCopy: true, copy: .init(number: 77, stored: 5),
    lineage: Lineage([.numbered(2)]), last: last,
    position: StreamPosition(segment: 12, offset: 40_960), segmentIncarnation: .numbered(3),
    ownerDurable: .init(.numbered(2), SequenceNumber(900_000)), applied: SequenceNumber(999_000),
    disks: disks(2))

  private static func disks(_ count: Int) -> [JournalState.Disk] {
    (0..<count).map {
      .init(number: DiskNumber(UInt16($0)), name: "disk\($0)", byteCount: UInt64($0) << 20)
    }
  }
  static let progress = LinkProgress(
    isRecoverable: true, received: SequenceNumber(30), durable: SequenceNumber(20),
    applied: SequenceNumber(10), durableTimestamp: Timestamp(rawValue: 1_795_000_000_000_000_000))
  static let piece = BaselinePiece(
    disk: DiskNumber(513), range: ByteRange(start: 1 << 40, length: 1 << 20),
    applied: SequenceNumber(77))

  static let messages = [
    Message(testDescription: "hello", bytes: hello.encoded()) {
      try LinkHello(decoding: $0).encoded()
    },
    Message(testDescription: "welcome", bytes: welcome.encoded()) {
      try LinkWelcome(decoding: $0).encoded()
    },
    Message(testDescription: "progress", bytes: progress.encoded()) {
      try LinkProgress(decoding: $0).encoded()
    },
    Message(testDescription: "baseline piece", bytes: piece.encoded()) {
      try BaselinePiece(decoding: $0).encoded()
    },
  ]

  // MARK: Round trips

  @Test(arguments: [0, 1, 2, LinkMessageTests.diskLimit])
  func `a hello comes back as it was`(diskCount: Int) throws {
    var hello = Self.hello
    hello.disks = Self.disks(diskCount)
    hello.nextDisk = 300
    #expect(try LinkHello(decoding: hello.encoded()) == hello)
  }

  @Test(arguments: [false, true], [0, 1, LinkMessageTests.diskLimit])
  func `a welcome comes back as it was`(needs: Bool, diskCount: Int) throws {
    var welcome = Self.welcome
    welcome.needsBaseline = needs
    welcome.lacksAfter = needs ? nil : SequenceNumber(41)
    welcome.disks = Self.disks(diskCount)
    #expect(try LinkWelcome(decoding: welcome.encoded()) == welcome)
  }

  @Test(arguments: [false, true]) func `progress comes back as it was`(recoverable: Bool) throws {
    var progress = Self.progress
    progress.isRecoverable = recoverable
    #expect(try LinkProgress(decoding: progress.encoded()) == progress)
  }

  @Test func `a baseline piece comes back as it was, with its data behind it`() throws {
    let bytes = Self.piece.encoded()
    #expect(bytes.count == BaselinePiece.byteCount)
    #expect(try BaselinePiece(decoding: bytes) == Self.piece)
    #expect(try BaselinePiece(decoding: bytes + [1, 2, 3]) == Self.piece)
  }

  // MARK: Refusals

  @Test(arguments: messages) func `every truncation is refused`(message: Message) throws {
    for count in 0..<message.bytes.count {
      #expect(throws: LinkError.self, "\(count) bytes") {
        try message.decodeAndEncode(Array(message.bytes.prefix(count)))
      }
    }
    #expect(try message.decodeAndEncode(message.bytes) == message.bytes)
  }

  @Test(arguments: messages, 1...4 as ClosedRange<UInt64>)
  func `random bytes never trap`(message: Message, seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for round in 0..<500 {
      var bytes = message.bytes + random.bytes(random.below(64))
      if round % 2 == 0 {
        bytes = random.bytes(random.below(2 * message.bytes.count))
      } else {
        for _ in 0...random.below(4) { bytes[random.below(bytes.count)] ^= 1 << random.below(8) }
      }
      Self.expectRefusalOrMeaning(message, bytes)
    }
  }

  /// What is not refused has a meaning: its encoding decodes to itself.
  private static func expectRefusalOrMeaning(_ message: Message, _ bytes: [UInt8]) {
    do {
      let encoded = try message.decodeAndEncode(bytes)
      #expect(try message.decodeAndEncode(encoded) == encoded)
    } catch { #expect(error is LinkError, "\(error)") }
  }

  @Test func `a hello of something else is refused`() {
    #expect(refusal(of: Self.hello.encoded(), changing: 0) == .protocolViolation)
  }

  @Test func `another version is named`() throws {
    #expect(refusal(of: Self.hello.encoded(), changing: 11) == .otherVersion(9))
    var bytes = Self.welcome.encoded()
    bytes[3] = 9
    let error = #expect(throws: LinkError.self) { try LinkWelcome(decoding: bytes) }
    guard case .otherVersion(9) = error else {
      Issue.record("refused as \(String(describing: error))")
      return
    }
    #expect("\(LinkError.otherVersion(9))".contains("version 9"))
  }

  /// The next owner's would be one more.
  @Test func `terms without a next one are refused`() {
    var hello = Self.hello
    hello.claim = Claim(term: .max, isTaken: true)
    #expect(throws: LinkError.self) { try LinkHello(decoding: hello.encoded()) }
    hello = Self.hello
    hello.lineage = Lineage([
      Incarnation(identifier: .numbered(1), term: .max, epoch: 1, after: .origin)
    ])
    #expect(throws: LinkError.self) { try LinkHello(decoding: hello.encoded()) }
    let rival = Rival(
      site: "west", claim: Claim(term: .max), history: SiteHistory(Lineage(), last: .origin))
    #expect(throws: LinkError.self) { try Rival(decoding: rival.encoded()) }
  }

  @Test func `a hello with too many disks is refused`() {
    var hello = Self.hello
    hello.disks = Self.disks(Self.diskLimit + 1)
    #expect(throws: LinkError.self) { try LinkHello(decoding: hello.encoded()) }
  }

  @Test func `a welcome with too many disks is refused`() {
    var welcome = Self.welcome
    welcome.disks = Self.disks(Self.diskLimit + 1)
    #expect(throws: LinkError.self) { try LinkWelcome(decoding: welcome.encoded()) }
  }

  @Test func `a name that is not UTF-8 is refused`() {
    var bytes = Self.welcome.encoded()
    bytes[6] = 0xFF
    #expect(throws: LinkError.self) { try LinkWelcome(decoding: bytes) }
  }

  @Test(arguments: [(UInt64.max, 1), (1, .max), (1 << 63, 1 << 63)] as [(UInt64, UInt64)])
  func `a baseline piece beyond 64 bits is refused`(start: UInt64, length: UInt64) {
    var encoder = WireEncoder()
    encoder.put(UInt16(0))
    encoder.put(start)
    encoder.put(length)
    encoder.put(UInt64(0))
    #expect(throws: LinkError.self) { try BaselinePiece(decoding: encoder.bytes) }
  }

  static let diskLimit = 256

  private enum Refusal: Equatable {
    case protocolViolation
    case otherVersion(UInt32)
    case other
  }

  /// How a hello is refused of which one byte has its lowest bit flipped.
  private func refusal(of hello: [UInt8], changing position: Int) -> Refusal? {
    var bytes = hello
    bytes[position] ^= 1
    do throws(LinkError) {
      _ = try LinkHello(decoding: bytes)
      return nil
    } catch .protocolViolation {
      return .protocolViolation
    } catch .otherVersion(let version) {
      return .otherVersion(version)
    } catch { return .other }
  }
}
