import BlockModel
import Journal

/// The protected site's first message: who it is and what it will send. Sent again when its disks
/// have grown.
public struct LinkHello: Equatable, Sendable {
  public static let magic: UInt64 = 0x5441_504C_4C49_4E4B  // "TAPLLINK"
  public static let version: UInt32 = 8
  /// As many as a group's configuration may have.
  static let diskLimit = 256

  public var site: String
  /// The name of the site for which it is meant.
  public var receiver: String
  public var groupName: String
  public var group: GroupIdentifier
  /// By what it owns the group.
  public var claim: Claim
  /// Its incarnations, the one that sends being the newest, and its last record.
  public var lineage: Lineage
  public var last: LastRecord
  public var segmentByteCount: UInt32
  public var disks: [JournalState.Disk]
  /// All numbers of disks in records are below it, also those of disks that have left.
  public var nextDisk: UInt16

  public init(
    site: String, receiver: String, groupName: String, group: GroupIdentifier,
    claim: Claim = Claim(term: 1), lineage: Lineage, last: LastRecord = LastRecord(.none, .zero),
    segmentByteCount: UInt32,
    disks: [JournalState.Disk]
  ) {
    self.site = site
    self.receiver = receiver
    self.groupName = groupName
    self.group = group
    self.claim = claim
    self.lineage = lineage
    self.last = last
    self.segmentByteCount = segmentByteCount
    self.disks = disks
    nextDisk = UInt16(disks.numberCount)
  }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(Self.magic)
    encoder.put(Self.version)
    encoder.put(site)
    encoder.put(receiver)
    encoder.put(groupName)
    encoder.put(group.high)
    encoder.put(group.low)
    encoder.put(claim)
    encoder.put(lineage)
    encoder.put(last)
    encoder.put(segmentByteCount)
    encoder.put(disks)
    encoder.put(nextDisk)
    return encoder.bytes
  }

  public init(decoding bytes: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(bytes)
    do {
      guard try decoder.take(UInt64.self) == Self.magic else {
        throw LinkError.protocolViolation("the peer does not speak Tapline's link protocol")
      }
      let version = try decoder.take(UInt32.self)
      guard version == Self.version else { throw LinkError.otherVersion(version) }
      site = try decoder.takeString()
      receiver = try decoder.takeString()
      groupName = try decoder.takeString()
      group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
      claim = try decoder.takeClaim()
      lineage = try decoder.takeLineage()
      last = try decoder.takeLastRecord()
      segmentByteCount = try decoder.take()
      guard let disks = try decoder.takeDisks(limit: Self.diskLimit) else {
        throw LinkError.protocolViolation("hello names too many disks, or one number twice")
      }
      self.disks = disks
      nextDisk = try decoder.take()
      guard disks.numberCount <= nextDisk, nextDisk <= JournalState.diskNumberLimit else {
        throw LinkError.protocolViolation("hello names disks that cannot be")
      }
    } catch let error as LinkError {
      throw error
    } catch { throw .protocolViolation("hello is malformed") }
  }
}

/// The recovery site's answer: what it has. Sent again when its disks have grown; then only the
/// sizes count.
public struct LinkWelcome: Equatable, Sendable {
  public var sequence: SequenceNumber { last.sequence }

  /// Names what it has: a decision about that is not one about anything else.
  public var seen: JournalState.OwnerMark {
    .init(lineage.newest?.identifier ?? .none, last.sequence)
  }

  public var site: String
  /// It has no baseline: a full copy must come first.
  public var needsBaseline: Bool
  /// Its disks hold what no record has: see `JournalState.needsCopy`.
  public var needsCopy: Bool
  /// It owned the group before, and its own records after this one are still on its disks: it names
  /// what they changed once records come.
  public var lacksAfter: SequenceNumber?
  /// The full copy that was under way, and what of it is durable.
  public var copy: JournalState.Copy
  /// The incarnations of which it has records, its last record, and where the next byte belongs in
  /// the stream.
  public var lineage: Lineage
  public var last: LastRecord
  public var position: StreamPosition
  /// Of the segment that `position` names: it may hold no record yet.
  public var segmentIncarnation: IncarnationIdentifier
  /// The newest record of which it has heard that it was durable at its owner.
  public var ownerDurable: JournalState.OwnerMark
  public var applied: SequenceNumber
  public var disks: [JournalState.Disk]

  public init(
    site: String, needsBaseline: Bool, needsCopy: Bool = false,
    lacksAfter: SequenceNumber? = nil, copy: JournalState.Copy = .none,
    lineage: Lineage, last: LastRecord, position: StreamPosition,
    segmentIncarnation: IncarnationIdentifier,
    ownerDurable: JournalState.OwnerMark, applied: SequenceNumber, disks: [JournalState.Disk] = []
  ) {
    self.site = site
    self.needsBaseline = needsBaseline
    self.needsCopy = needsCopy
    self.lacksAfter = lacksAfter
    self.copy = copy
    self.lineage = lineage
    self.last = last
    self.position = position
    self.segmentIncarnation = segmentIncarnation
    self.ownerDurable = ownerDurable
    self.applied = applied
    self.disks = disks
  }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(LinkHello.version)
    encoder.put(site)
    encoder.put(needsBaseline ? UInt8(1) : 0)
    encoder.put(needsCopy ? UInt8(1) : 0)
    encoder.put(lacksAfter == nil ? UInt8(0) : 1)
    encoder.put((lacksAfter ?? .none).rawValue)
    encoder.put(copy.number)
    encoder.put(copy.stored)
    encoder.put(lineage)
    encoder.put(last)
    encoder.put(position.argument)
    encoder.put(segmentIncarnation)
    encoder.put(ownerDurable)
    encoder.put(applied.rawValue)
    encoder.put(disks)
    return encoder.bytes
  }

  public init(decoding bytes: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(bytes)
    do {
      let version = try decoder.take(UInt32.self)
      guard version == LinkHello.version else { throw LinkError.otherVersion(version) }
      site = try decoder.takeString()
      needsBaseline = try decoder.take(UInt8.self) == 1
      needsCopy = try decoder.take(UInt8.self) == 1
      let lacks = try decoder.take(UInt8.self) == 1
      let common = SequenceNumber(try decoder.take())
      lacksAfter = lacks ? common : nil
      copy = .init(number: try decoder.take(), stored: try decoder.take())
      lineage = try decoder.takeLineage()
      last = try decoder.takeLastRecord()
      position = StreamPosition(argument: try decoder.take())
      segmentIncarnation = try decoder.takeIdentifier()
      ownerDurable = try decoder.takeOwnerMark()
      applied = SequenceNumber(try decoder.take())
      guard let disks = try decoder.takeDisks(limit: LinkHello.diskLimit) else {
        throw LinkError.protocolViolation("welcome names too many disks, or one number twice")
      }
      self.disks = disks
    } catch let error as LinkError {
      throw error
    } catch { throw .protocolViolation("welcome is malformed") }
  }
}

/// The body of `cut` and `baselineBegin`: empty, or what the operator has given up.
public enum LinkMessage {
  public static func encode(_ mark: JournalState.OwnerMark) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(mark)
    return encoder.bytes
  }

  static func decodeOwnerMark(_ bytes: [UInt8]) throws(LinkError) -> JournalState.OwnerMark {
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) { return try decoder.takeOwnerMark() } catch {
      throw .protocolViolation("a record is not named as it is to be")
    }
  }

  static func encodeDiscarded(_ seen: JournalState.OwnerMark?) -> [UInt8] {
    guard let seen else { return [] }
    var encoder = WireEncoder()
    encoder.put(seen)
    return encoder.bytes
  }

  public static func decodeDiscarded(
    _ bytes: [UInt8]
  ) throws(LinkError) -> JournalState.OwnerMark? {
    if bytes.isEmpty { return nil }
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) { return try decoder.takeOwnerMark() } catch {
      throw .protocolViolation("what is to be dropped is malformed")
    }
  }
}

extension LinkMessage {
  /// So many ranges are in one `lacking`.
  public static let lackingLimit = LinkFrame.bodyLimit(of: .lacking) / DiskExtent.byteCount

  /// What each `lacking` names.
  public static func lackingParts(_ extents: [DiskExtent]) -> [ArraySlice<DiskExtent>] {
    stride(from: 0, to: extents.count, by: lackingLimit).map {
      extents[$0..<min(extents.count, $0 + lackingLimit)]
    }
  }

  public static func encodeLacking(_ extents: ArraySlice<DiskExtent>) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(extents: extents)
    return encoder.bytes
  }

  static func decodeLacking(_ bytes: [UInt8]) throws(LinkError) -> [DiskExtent] {
    var decoder = WireDecoder(bytes)
    var extents: [DiskExtent] = []
    do throws(WireDecoder.Failure) {
      while decoder.remaining > 0 { extents.append(try decoder.takeExtent()) }
    } catch { throw .protocolViolation("what the peer lacks is malformed") }
    return extents
  }

  /// So many digests are in one `digests`.
  public static let digestLimit = 1 << 10

  public static func encodeDigests(
    _ digests: [BlockDigest], from position: DiskPosition
  ) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(position)
    for digest in digests { encoder.put(digest) }
    return encoder.bytes
  }

  static func decodeDigests(
    _ bytes: [UInt8]
  ) throws(LinkError) -> (digests: [BlockDigest], position: DiskPosition) {
    var decoder = WireDecoder(bytes)
    var digests: [BlockDigest] = []
    do throws(WireDecoder.Failure) {
      let position = try decoder.takePosition()
      while decoder.remaining > 0 { digests.append(try decoder.takeDigest()) }
      guard digests.count <= digestLimit else { throw .tooShort }
      return (digests, position)
    } catch { throw .protocolViolation("what the peer has of what it lacks is malformed") }
  }

  static func encodePosition(_ position: DiskPosition) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(position)
    return encoder.bytes
  }

  static func decodePosition(_ bytes: [UInt8]) throws(LinkError) -> DiskPosition {
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) { return try decoder.takePosition() } catch {
      throw .protocolViolation("how far the owner has come is malformed")
    }
  }

  static func encodeTimestamp(_ timestamp: Timestamp) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(timestamp.rawValue)
    return encoder.bytes
  }

  /// - Parameter what: is malformed when there is no time.
  static func decodeTimestamp(
    _ bytes: [UInt8], of what: String
  ) throws(LinkError) -> Timestamp {
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) {
      let timestamp = Timestamp(rawValue: try decoder.take())
      guard timestamp > .zero else { throw .tooShort }
      return timestamp
    } catch { throw .protocolViolation("\(what) is malformed") }
  }
}

/// How far the receiver has come. Sequence numbers of the group; the timestamp is that of the
/// newest durable record.
public struct LinkProgress: Equatable, Sendable {
  /// The disks are a whole copy: what is durable can be opened there.
  public var isRecoverable: Bool
  public var received: SequenceNumber
  public var durable: SequenceNumber
  public var applied: SequenceNumber
  public var durableTimestamp: Timestamp

  public init(
    isRecoverable: Bool, received: SequenceNumber, durable: SequenceNumber,
    applied: SequenceNumber, durableTimestamp: Timestamp
  ) {
    self.isRecoverable = isRecoverable
    self.received = received
    self.durable = durable
    self.applied = applied
    self.durableTimestamp = durableTimestamp
  }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(isRecoverable ? UInt8(1) : 0)
    encoder.put(received.rawValue)
    encoder.put(durable.rawValue)
    encoder.put(applied.rawValue)
    encoder.put(durableTimestamp.rawValue)
    return encoder.bytes
  }

  public init(decoding bytes: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) {
      isRecoverable = try decoder.take(UInt8.self) == 1
      received = SequenceNumber(try decoder.take())
      durable = SequenceNumber(try decoder.take())
      applied = SequenceNumber(try decoder.take())
      durableTimestamp = Timestamp(rawValue: try decoder.take())
    } catch { throw .protocolViolation("progress is malformed") }
  }
}

/// Where a piece of a baseline belongs: in front of the bytes of `baselineData` and
/// `compressedBaseline`, alone in `baselineZeros`.
public struct BaselinePiece: Equatable, Sendable {
  public static let byteCount = 26

  public var disk: DiskNumber
  public var range: ByteRange
  /// The piece holds at least the records up to here: what the protected base had applied when it
  /// was read.
  public var applied: SequenceNumber

  public init(disk: DiskNumber, range: ByteRange, applied: SequenceNumber) {
    self.disk = disk
    self.range = range
    self.applied = applied
  }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(disk.rawValue)
    encoder.put(range.start)
    encoder.put(range.length)
    encoder.put(applied.rawValue)
    return encoder.bytes
  }

  public init(decoding bytes: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) {
      disk = DiskNumber(try decoder.take())
      let start = try decoder.take(UInt64.self)
      let length = try decoder.take(UInt64.self)
      guard let range = ByteRange(validating: start, length: length, size: .max) else {
        throw .tooShort
      }
      self.range = range
      applied = SequenceNumber(try decoder.take())
    } catch { throw .protocolViolation("baseline piece is malformed") }
  }
}

public enum LinkError: Error, Sendable, CustomStringConvertible {
  case network(String)
  case protocolViolation(String)
  case otherVersion(UInt32)
  case refused(String)
  /// Each site has records that the other lacks; an operator must decide.
  case diverged(String)
  /// The peer owns the group itself, and this site gives way.
  case outranked(Rival)
  /// The records that the peer needs next are not in the journal any more.
  case tooFarBehind
  /// What comes cannot be taken at this site, the receiver; the peer is told so.
  case unacceptable(String)
  case local(String)

  public var description: String {
    switch self {
    case .network(let text): text
    case .protocolViolation(let text): "link protocol: \(text)"
    case .otherVersion(let version):
      "the peer speaks link protocol version \(version), this site \(LinkHello.version): "
        + "run the same version of tapline at both sites"
    case .refused(let text): "the peer refuses: \(text)"
    case .outranked(let rival):
      "\(rival.site) owns the group by term \(rival.claim.term)"
        + (rival.claim.isPending ? ", not committed yet" : "")
    case .tooFarBehind: "the peer is further behind than the journal reaches"
    case .unacceptable(let text), .local(let text), .diverged(let text): text
    }
  }
}
