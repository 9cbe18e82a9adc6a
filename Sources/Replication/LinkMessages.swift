import BlockModel
import Journal

/// The protected site's first message: who it is and what it will send. Sent again when its disks
/// have grown.
public struct LinkHello: Equatable, Sendable {
  public static let magic: UInt64 = 0x5441_504C_4C49_4E4B  // "TAPLLINK"
  public static let version: UInt32 = 2
  /// As many as a group's configuration may have.
  static let diskLimit = 256

  public var site: String
  public var groupName: String
  public var group: GroupIdentifier
  public var epoch: UInt64
  public var segmentByteCount: UInt32
  public var disks: [JournalState.Disk]

  public init(
    site: String, groupName: String, group: GroupIdentifier, epoch: UInt64,
    segmentByteCount: UInt32, disks: [JournalState.Disk]
  ) {
    self.site = site
    self.groupName = groupName
    self.group = group
    self.epoch = epoch
    self.segmentByteCount = segmentByteCount
    self.disks = disks
  }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(Self.magic)
    encoder.put(Self.version)
    encoder.put(site)
    encoder.put(groupName)
    encoder.put(group.high)
    encoder.put(group.low)
    encoder.put(epoch)
    encoder.put(segmentByteCount)
    encoder.put(UInt16(disks.count))
    for disk in disks {
      encoder.put(disk.name)
      encoder.put(disk.byteCount)
    }
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
      groupName = try decoder.takeString()
      group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
      epoch = try decoder.take()
      segmentByteCount = try decoder.take()
      disks = []
      let count = try decoder.take(UInt16.self)
      guard count <= Self.diskLimit else {
        throw LinkError.protocolViolation("hello names \(count) disks")
      }
      for _ in 0..<count {
        disks.append(
          .init(name: try decoder.takeString(), byteCount: try decoder.take()))
      }
    } catch let error as LinkError {
      throw error
    } catch { throw .protocolViolation("hello is malformed") }
  }
}

/// The recovery site's answer: what it has. Sent again when its disks have grown; then only the
/// sizes count.
public struct LinkWelcome: Equatable, Sendable {
  public var site: String
  /// It has no baseline: a full copy must come first.
  public var needsBaseline: Bool
  /// The full copy that was under way, as `copyBegin` named it; 0 when there was none.
  public var copy: UInt64
  /// The last `baselineConfirm` of that copy before which all is durable; 0 when it knows of none.
  public var stored: UInt64
  public var epoch: UInt64
  /// Its last record, and the end of that record in the stream.
  public var sequence: SequenceNumber
  public var position: StreamPosition
  public var applied: SequenceNumber
  /// The sizes of its disks, in the order of the group.
  public var diskByteCounts: [UInt64]

  public init(
    site: String, needsBaseline: Bool, copy: UInt64 = 0, stored: UInt64 = 0, epoch: UInt64,
    sequence: SequenceNumber, position: StreamPosition, applied: SequenceNumber,
    diskByteCounts: [UInt64] = []
  ) {
    self.site = site
    self.needsBaseline = needsBaseline
    self.copy = copy
    self.stored = stored
    self.epoch = epoch
    self.sequence = sequence
    self.position = position
    self.applied = applied
    self.diskByteCounts = diskByteCounts
  }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(LinkHello.version)
    encoder.put(site)
    encoder.put(needsBaseline ? UInt8(1) : 0)
    encoder.put(copy)
    encoder.put(stored)
    encoder.put(epoch)
    encoder.put(sequence.rawValue)
    encoder.put(position.argument)
    encoder.put(applied.rawValue)
    encoder.put(UInt16(diskByteCounts.count))
    for byteCount in diskByteCounts { encoder.put(byteCount) }
    return encoder.bytes
  }

  public init(decoding bytes: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(bytes)
    do {
      let version = try decoder.take(UInt32.self)
      guard version == LinkHello.version else { throw LinkError.otherVersion(version) }
      site = try decoder.takeString()
      needsBaseline = try decoder.take(UInt8.self) == 1
      copy = try decoder.take()
      stored = try decoder.take()
      epoch = try decoder.take()
      sequence = SequenceNumber(try decoder.take())
      position = StreamPosition(argument: try decoder.take())
      applied = SequenceNumber(try decoder.take())
      let count = try decoder.take(UInt16.self)
      guard count <= LinkHello.diskLimit else {
        throw LinkError.protocolViolation("welcome names \(count) disks")
      }
      diskByteCounts = []
      for _ in 0..<count { diskByteCounts.append(try decoder.take()) }
    } catch let error as LinkError {
      throw error
    } catch { throw .protocolViolation("welcome is malformed") }
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
  /// The records that the peer needs next are not in the journal any more.
  case tooFarBehind
  /// A disk of this site, the receiver, is too small for what comes; the peer is told so.
  case diskTooSmall(String)
  case local(String)

  public var description: String {
    switch self {
    case .network(let text): text
    case .protocolViolation(let text): "link protocol: \(text)"
    case .otherVersion(let version):
      "the peer speaks link protocol version \(version), this site \(LinkHello.version): "
        + "run the same version of tapline at both sites"
    case .refused(let text): "the peer refuses: \(text)"
    case .tooFarBehind: "the peer is further behind than the journal reaches"
    case .diskTooSmall(let text), .local(let text): text
    }
  }
}
