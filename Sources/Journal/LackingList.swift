import BlockModel
import SystemIO

/// What a former owner's own records have changed since the last one that it has in common with the
/// owner that it follows now: in its bases these bytes are as they are at no owner. Written before
/// the state file says so, and not changed any more; what of it has come since, `JournalState.Lack`
/// knows.
///
/// The file: `TAPLLACK`, version (32 bits), CRC-32C of what follows (32), then the fields in the
/// order of `encode`, big-endian.
public struct LackingList: Equatable, Sendable {
  public static let fileName = "lacking"
  /// Of the file, when it has as many ranges as there may be.
  public static let byteLimit = 1024 + DiskExtents.limit * DiskExtent.byteCount
  public static let version: UInt32 = 1
  private static let magic: UInt64 = 0x5441_504C_4C41_434B  // "TAPLLACK"

  /// Drawn at random: the state file names it.
  public let number: UInt64
  public let group: GroupIdentifier
  /// The last record that both have.
  public let common: JournalState.Mark
  /// The list has what own records after this one changed. Those between the common one and it are
  /// not here any more: the owner has parked them. Mostly the common one itself.
  public let exactAfter: JournalState.OwnerMark
  /// The last own record, and the incarnation that stamped it.
  public let last: JournalState.OwnerMark
  public let extents: DiskExtents

  public init(
    number: UInt64, group: GroupIdentifier, common: JournalState.Mark,
    exactAfter: JournalState.OwnerMark, last: JournalState.OwnerMark, extents: DiskExtents
  ) {
    self.number = number
    self.group = group
    self.common = common
    self.exactAfter = exactAfter
    self.last = last
    self.extents = extents
  }

  public func encoded() -> [UInt8] {
    var fields = WireEncoder()
    fields.put(number)
    fields.put(group.high)
    fields.put(group.low)
    fields.put(common.sequence.rawValue)
    fields.put(common.timestamp.rawValue)
    fields.put(exactAfter)
    fields.put(last)
    fields.put(UInt32(extents.extents.count))
    fields.put(extents: extents.extents)
    var whole = WireEncoder()
    whole.put(Self.magic)
    whole.put(Self.version)
    whole.put(Self.checksum(fields.bytes))
    whole.put(fields.bytes)
    return whole.bytes
  }

  /// Nil: damaged, or of another version.
  public init?(decoding bytes: [UInt8]) {
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) {
      let (magic, version) = (try decoder.take(UInt64.self), try decoder.take(UInt32.self))
      let sum = try decoder.take(UInt32.self)
      let fields = try decoder.takeBytes(decoder.remaining)
      guard magic == Self.magic, version == Self.version, Self.checksum(fields) == sum else {
        return nil
      }
      decoder = WireDecoder(fields)
      number = try decoder.take()
      group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
      common = .init(SequenceNumber(try decoder.take()), Timestamp(rawValue: try decoder.take()))
      exactAfter = try decoder.takeOwnerMark()
      last = try decoder.takeOwnerMark()
      var extents = DiskExtents()
      for _ in 0..<(try decoder.take(UInt32.self)) {
        guard extents.append(try decoder.takeExtent()) else { return nil }
      }
      self.extents = extents
    } catch { return nil }
  }

  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe CRC32C.standard($0) }
  }

  /// Whether each range has its place on a disk of the owner, as far as that has the disk: what
  /// lies behind its end can come from nobody.
  public func fits(_ disks: [JournalState.Disk]) -> Bool {
    extents.extents.allSatisfy { extent in
      disks[extent.disk].map { extent.range.end <= $0.byteCount } ?? true
    }
  }
}
