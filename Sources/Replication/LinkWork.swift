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

/// Reads what a full copy sends next: a few pieces of a disk.
final class CopyReading<Store: BackingStore>: LinkWork, @unchecked Sendable {
  struct Piece {
    let disk: DiskNumber
    let range: ByteRange
    /// Where its bytes lie; nil: they are zeros.
    let slot: Int?
    /// It holds at least so much.
    let applied: SequenceNumber
  }

  /// Pieces between two looks at the journal.
  private static var burst: Int { 4 }

  private var reader: BaselineReader<Store>
  private let watermarks: Watermarks
  private var pieces: [Piece] = []
  private var sentCount = 0
  private var problem: StorageError?

  init(_ stores: [Store?], _ debt: CopyDebt, _ watermarks: Watermarks) {
    reader = BaselineReader(stores, debt, slots: Self.burst)
    self.watermarks = watermarks
  }

  override func run() {
    pieces.removeAll(keepingCapacity: true)
    sentCount = 0
    do throws(StorageError) {
      while pieces.count < Self.burst {
        // The mark first, then the data: what is read holds at least so much.
        let applied = watermarks.sequence(.applied)
        let slot = pieces.count
        guard let piece = try reader.next(slot: slot) else { break }
        switch piece {
        case .data(let disk, let range):
          pieces.append(Piece(disk: disk, range: range, slot: slot, applied: applied))
        case .zeros(let disk, let range):
          pieces.append(Piece(disk: disk, range: range, slot: nil, applied: applied))
        }
      }
    } catch { problem = error }
  }

  /// Everything that was read is taken.
  var isEmpty: Bool { sentCount == pieces.count }

  /// The next piece that was read; nil when all are taken.
  func next() throws(LinkError) -> Piece? {
    if let problem { throw .local("reading a disk for the initial sync: \(problem)") }
    guard sentCount < pieces.count else { return nil }
    sentCount += 1
    return pieces[sentCount - 1]
  }

  /// Valid until the work is given away again.
  func bytes(_ range: ByteRange, slot: Int) -> UnsafeRawBufferPointer {
    unsafe reader.bytes(range, slot: slot)
  }
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
