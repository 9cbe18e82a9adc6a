import BlockModel
import SystemIO

/// What a follower lacks of the disks though no record after the *common* one says so: at a former
/// owner what its own records have changed since, at a follower for which records were dropped what
/// those had changed. In its bases these bytes are as they are at no owner. Written before the
/// state file says so, and not changed any more; `JournalState.Lack` knows what has come since.
///
/// The file is a `SealedForm`, `TAPLLACK`, with the fields in the order of `encode`, big-endian.
public struct LackingList: Equatable, Sendable {
  public static let fileName = "lacking"
  /// A list for which the group's state is about to be changed.
  public static let nextFileName = "lacking-next"
  /// Of the file, when it has as many ranges as there may be.
  public static let byteLimit =
    (1 << 20) + DiskExtents.limit * DiskExtent.byteCount
  private static let form = SealedForm(magic: 0x5441_504C_4C41_434B, version: 2)  // "TAPLLACK"

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
  /// Of the owner, up to the common record, and the disks that the group has with it, where the
  /// follower's own do not go on.
  public let lineage: Lineage
  public let disks: [JournalState.Disk]
  public let nextDisk: UInt16
  public let extents: DiskExtents
  /// The group's disks have the owner's numbers.
  public var hasOwnersDisks = true

  public init(
    number: UInt64, group: GroupIdentifier, common: JournalState.Mark,
    exactAfter: JournalState.OwnerMark, last: JournalState.OwnerMark, lineage: Lineage = Lineage(),
    disks: [JournalState.Disk] = [], nextDisk: UInt16 = 0, extents: DiskExtents
  ) {
    self.number = number
    self.group = group
    self.common = common
    self.exactAfter = exactAfter
    self.last = last
    self.lineage = lineage
    self.disks = disks
    self.nextDisk = nextDisk
    self.extents = extents
  }

  /// It tells all that is lacking behind the common record.
  ///
  /// - Parameter lineage: of the owner.
  public init(
    number: UInt64, group: GroupIdentifier, behind common: JournalState.Mark, of lineage: Lineage,
    disks: [JournalState.Disk] = [], nextDisk: UInt16 = 0, extents: DiskExtents
  ) {
    let mark = lineage.ownerMark(of: common.sequence)
    self.init(
      number: number, group: group, common: common, exactAfter: mark, last: mark, lineage: lineage,
      disks: disks, nextDisk: nextDisk, extents: extents)
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
    fields.put(lineage)
    fields.put(hasOwnersDisks ? UInt8(1) : 0)
    fields.put(nextDisk)
    fields.put(whole: disks)
    fields.put(UInt32(extents.extents.count))
    fields.put(extents: extents.extents)
    return Self.form.seal(fields.bytes)
  }

  /// Nil: damaged, or of another version.
  public init?(decoding bytes: [UInt8]) {
    do {
      var decoder = WireDecoder(try Self.form.open(bytes))
      number = try decoder.take()
      group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
      common = .init(SequenceNumber(try decoder.take()), Timestamp(rawValue: try decoder.take()))
      exactAfter = try decoder.takeOwnerMark()
      last = try decoder.takeOwnerMark()
      lineage = try decoder.takeLineage()
      hasOwnersDisks = try decoder.take(UInt8.self) == 1
      nextDisk = try decoder.take()
      disks = try decoder.takeWholeDisks()
      var extents = DiskExtents()
      for _ in 0..<(try decoder.take(UInt32.self)) {
        guard extents.append(try decoder.takeExtent()) else { return nil }
      }
      self.extents = extents
    } catch { return nil }
  }

  /// Whether each range has its place on a disk of the owner, as far as that has the disk: what
  /// lies behind its end can come from nobody.
  public func fits(_ disks: [JournalState.Disk]) -> Bool {
    extents.extents.allSatisfy { extent in
      disks[extent.disk].map { extent.range.end <= $0.byteCount } ?? true
    }
  }
}
