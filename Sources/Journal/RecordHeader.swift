import BlockModel
import SystemIO

/// What a record does to its disk. Data records have the numbers of the NBD commands they came
/// from, because a record is an NBD request rewritten in place.
public enum RecordKind: UInt16, Sendable {
  case write = 1
  case trim = 4
  case zero = 6
  /// A named or periodic instant: no disk, the tag as payload (empty when periodic).
  case checkpoint = 256
  /// A disk has come to the group, is whole, or has left it: a `DiskChange` as payload.
  case disk = 257

  /// Changes no byte of a disk.
  @inline(__always) public var isMarker: Bool { self == .checkpoint || self == .disk }
}

/// The 28 bytes in front of every record's payload; all integers big-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0–3 | CRC-32C of these 28 bytes (this field zero) and the payload |
/// | 4–5 | disk number |
/// | 6–7 | kind |
/// | 8–15 | timestamp, nanoseconds since 1970 |
/// | 16–23 | offset on the disk, bytes |
/// | 24–27 | length, bytes |
///
/// The checksum is in raw form and starts from the segment's seed XOR the record's index in the
/// segment. The sequence number is not stored: it is the segment's first plus the index.
public struct RecordHeader: Equatable, Sendable {
  public static let byteCount = 28
  /// No record carries more; longer guest writes become several records.
  public static let payloadLimit = 1 << 20
  /// No marker's payload is longer: so much is read with the headers.
  public static let tagByteLimit = 4096

  public var disk: DiskNumber
  public var kind: RecordKind
  public var timestamp: Timestamp
  public var offset: UInt64
  public var length: UInt32

  @inline(__always)
  public init(
    disk: DiskNumber, kind: RecordKind, timestamp: Timestamp, offset: UInt64, length: UInt32
  ) {
    self.disk = disk
    self.kind = kind
    self.timestamp = timestamp
    self.offset = offset
    self.length = length
  }

  public var range: ByteRange { ByteRange(start: offset, length: UInt64(length)) }

  @inline(__always)
  public var payloadByteCount: Int {
    switch kind {
    case .write, .checkpoint, .disk: Int(length)
    case .trim, .zero: 0
    }
  }

  /// Writes the header, then the checksum over it and the payload, which must follow at
  /// `record + 28`.
  ///
  /// - Parameter checksumStart: the segment's seed XOR the record's index.
  @inline(__always)
  public func encode(sealing record: UnsafeMutableRawPointer, checksumStart: UInt32) {
    unsafe record.storeBytes(of: 0, as: UInt32.self)
    unsafe record.storeBytes(of: disk.rawValue.bigEndian, toByteOffset: 4, as: UInt16.self)
    unsafe record.storeBytes(of: kind.rawValue.bigEndian, toByteOffset: 6, as: UInt16.self)
    unsafe record.storeBytes(of: timestamp.rawValue.bigEndian, toByteOffset: 8, as: UInt64.self)
    unsafe record.storeBytes(of: offset.bigEndian, toByteOffset: 16, as: UInt64.self)
    unsafe record.storeBytes(of: length.bigEndian, toByteOffset: 24, as: UInt32.self)
    let checksum = unsafe CRC32C.extend(
      checksumStart, record, count: Self.byteCount + payloadByteCount)
    unsafe record.storeBytes(of: checksum.bigEndian, as: UInt32.self)
  }

  /// Reads the fields at `record`, which has at least 28 bytes. Nil when they cannot be a record's:
  /// unknown kind, a payload or tag over its limit, a range that overflows. Does not check the sum.
  @inline(__always)
  public init?(parsing record: UnsafeRawPointer) {
    let rawKind = unsafe UInt16(
      bigEndian: record.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
    guard let kind = RecordKind(rawValue: rawKind) else { return nil }
    self.kind = kind
    disk = DiskNumber(
      unsafe UInt16(bigEndian: record.loadUnaligned(fromByteOffset: 4, as: UInt16.self)))
    timestamp = Timestamp(
      rawValue: unsafe UInt64(
        bigEndian: record.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    offset = unsafe UInt64(bigEndian: record.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
    length = unsafe UInt32(bigEndian: record.loadUnaligned(fromByteOffset: 24, as: UInt32.self))
    let limit = kind.isMarker ? Self.tagByteLimit : Self.payloadLimit
    guard payloadByteCount <= limit,
      !offset.addingReportingOverflow(UInt64(length)).overflow
    else { return nil }
  }

  /// Whether the stored checksum agrees with the bytes. `record` holds the whole record.
  @inline(__always)
  public func verifies(_ record: UnsafeRawPointer, checksumStart: UInt32) -> Bool {
    let stored = unsafe UInt32(bigEndian: record.loadUnaligned(as: UInt32.self))
    var sum = checksumStart
    unsafe withUnsafeBytes(of: UInt32(0)) { unsafe sum = CRC32C.extend(sum, $0) }
    sum = unsafe CRC32C.extend(sum, record + 4, count: Self.byteCount - 4 + payloadByteCount)
    return sum == stored
  }
}
