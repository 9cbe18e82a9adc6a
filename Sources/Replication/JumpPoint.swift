import BlockModel
import Journal

/// Where a follower goes on that cannot have the next records any more: behind a record of the
/// owner, with what those before it have changed still lacking, or with everything lacking.
public struct JumpPoint: Equatable, Sendable {
  /// The last record that does not come. It was durable at the owner.
  public var mark: JournalState.Mark
  /// Of the owner, up to that record.
  public var lineage: Lineage
  /// The disks of the owner, and a number that is higher than all of theirs.
  public var disks: [JournalState.Disk]
  public var nextDisk: UInt16
  /// The follower must have all up to this record durably, unless the jump is whole.
  public var after: SequenceNumber
  /// What is lacking then, beside what the follower has and has not applied.
  public var extents: DiskExtents
  /// What the follower has, all of which an operator has given up; nil: nothing of that.
  public var discarding: JournalState.OwnerMark?
  /// Nothing of what the follower has counts.
  public let isWhole: Bool

  public init(
    behind mark: JournalState.Mark, _ lineage: Lineage, disks: [JournalState.Disk],
    nextDisk: UInt16, after: SequenceNumber, lacking extents: DiskExtents,
    discarding: JournalState.OwnerMark? = nil
  ) {
    self.mark = mark
    self.lineage = lineage
    self.disks = disks
    self.nextDisk = nextDisk
    self.after = after
    self.extents = extents
    self.discarding = discarding
    isWhole = extents == DiskExtents(whole: disks)
  }
}

extension LinkMessage {
  /// The body of `jump`, which follows the ranges.
  static func encodeJump(_ point: JumpPoint) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(point.mark.timestamp.rawValue)
    encoder.put(UInt64(point.extents.extents.count))
    encoder.put(point.after.rawValue)
    if let seen = point.discarding { encoder.put(seen) }
    return encoder.bytes
  }

  /// - Parameters:
  ///   - hello: of the owner that says so.
  ///   - owed: the ranges that it has named.
  static func decodeJump(
    _ frame: LinkFrame, _ bytes: [UInt8], of hello: LinkHello, lacking owed: DiskExtents
  ) throws(LinkError) -> JumpPoint {
    var decoder = WireDecoder(bytes)
    let last = SequenceNumber(frame.argument)
    do throws(WireDecoder.Failure) {
      let timestamp = Timestamp(rawValue: try decoder.take())
      let count = try decoder.take(UInt64.self)
      let after = SequenceNumber(try decoder.take())
      let seen = decoder.remaining > 0 ? try decoder.takeOwnerMark() : nil
      let isInside = owed.extents.allSatisfy { extent in
        hello.disks[extent.disk].map { extent.range.end <= $0.byteCount } ?? false
      }
      guard count == UInt64(owed.extents.count), isInside, last <= hello.last.sequence,
        last < .limit, (timestamp == .zero) == (last == .none)
      else { throw .tooShort }
      return JumpPoint(
        behind: .init(last, timestamp), hello.lineage.holding(through: last), disks: hello.disks,
        nextDisk: hello.nextDisk, after: after, lacking: owed, discarding: seen)
    } catch { throw .protocolViolation("where to go on is malformed") }
  }
}
