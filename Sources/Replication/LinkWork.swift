import BlockModel
import Journal
import Storage
import SystemIO

/// What the sending end of a link must read from disks, which may keep it waiting: so another
/// thread does it. One at a time has it: the link, but for the time from when it gives it away
/// until it is told that it has ended.
public class LinkWork: @unchecked Sendable {
  init() {}

  /// Once, for who was given it. Blocks.
  public func run() { preconditionFailure("work must say what it does") }
}

/// Looks at damage in a segment: what can be made again from the disks.
final class RepairWork<Store: BackingStore>: LinkWork, @unchecked Sendable {
  enum Task {
    /// Looks at the record with which a link begins and makes it again where it is damaged, if
    /// `applied` says that the disks hold it.
    case check(position: Int, SequenceNumber, applied: SequenceNumber)
    /// Makes the record again, and looks for damage in what follows it.
    case restoreAndLook(DamagedRecord)
    /// Looks at the whole segment: for what cannot be made again and, if there is nothing, for what
    /// can.
    case survey
  }

  let repair: RecordRepair<Store>
  /// Pinned until the work is done.
  private(set) var segment: Segment<File>?
  private(set) var task = Task.survey
  /// Of what was made again in `repair.room`; nil when it could not be.
  private(set) var restoredByteCount: Int?
  private(set) var loss: DamagedRecord?
  private(set) var damage: DamagedRecord?
  private var failure: LinkError?

  init(_ stores: [Store?]) { repair = RecordRepair(stores: stores) }

  /// Before it is given away.
  func prepare(_ task: Task, in segment: Segment<File>) {
    segment.pin()
    self.segment = segment
    self.task = task
  }

  override func run() {
    guard let segment else { return }
    (restoredByteCount, loss, damage, failure) = (nil, nil, nil, nil)
    do throws(LinkError) { try look(segment) } catch { failure = error }
    segment.unpin()
  }

  private func look(_ segment: Segment<File>) throws(LinkError) {
    switch task {
    case .check(let position, let sequence, let applied):
      damage = try repair.firstDamage(in: segment, from: position, sequence, limit: 1)
      guard let damage, damage.sequence <= applied else { return }
      restoredByteCount = repair.restore(damage, in: segment)
    case .restoreAndLook(let record):
      restoredByteCount = repair.restore(record, in: segment)
      guard let byteCount = restoredByteCount else { return }
      damage = try repair.firstDamage(
        in: segment, from: record.position + byteCount, record.sequence.advanced(by: 1))
    case .survey:
      loss = try repair.firstLoss(in: segment)
      if loss == nil {
        damage = try repair.firstDamage(
          in: segment, from: SegmentHeader.byteCount, segment.firstSequence)
      }
    }
  }

  /// Throws what kept it from being done.
  func check() throws(LinkError) {
    segment = nil
    if let failure { throw failure }
  }
}
