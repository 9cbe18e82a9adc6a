import BlockModel
import Journal
import Storage
import SystemIO

/// Walks over the disks of a group, again and again, and gives the contents of what the peer lacks
/// piece by piece, for a full copy.
///
/// It reads the bases while writes and apply go on: what it reads of a block that is being changed
/// may be old, new or torn. `CopyDebt` then names it again, or the records that the stream brings
/// set it right.
struct BaselineReader<Store: BackingStore>: ~Copyable {
  enum Piece {
    case data(disk: DiskNumber, range: ByteRange)
    case zeros(disk: DiskNumber, range: ByteRange)
  }

  static var pieceByteLimit: Int { 1 << 20 }

  /// By number; of those that are not there nothing is lacking.
  private let stores: [Store?]
  private let debt: CopyDebt
  private(set) var disk = 0
  private var offset: UInt64 = 0
  /// Of the disk: what it was last found to hold.
  private var data: ByteRange?
  /// Room for a piece in each slot.
  private let buffer: PageBuffer
  /// Of one piece: less than `pieceByteLimit` where that would be all.
  private let byteLimit: UInt64

  /// - Parameter slots: how many pieces can be kept at a time.
  init(_ stores: [Store?], _ debt: CopyDebt, slots: Int = 1) {
    precondition(!stores.isEmpty && slots > 0, "a group has a disk")
    self.stores = stores
    self.debt = debt
    buffer = PageBuffer(byteCount: slots * Self.pieceByteLimit)
    byteLimit = min(UInt64(Self.pieceByteLimit), max(4 << 10, debt.totalByteCount / 8))
  }

  /// The bytes of the last data piece in that slot; valid until the slot is used again.
  func bytes(_ range: ByteRange, slot: Int = 0) -> UnsafeRawBufferPointer {
    precondition(range.length <= UInt64(Self.pieceByteLimit))
    return unsafe UnsafeRawBufferPointer(
      start: buffer.base + slot * Self.pieceByteLimit, count: Int(range.length))
  }

  /// Nil when nothing is lacking. Blocks on the store.
  mutating func next(slot: Int = 0) throws(StorageError) -> Piece? {
    // The disk where it begins is looked at twice: also before `offset`.
    var disksToSee = stores.count + 1
    while disksToSee > 0 {
      guard let store = stores[disk], let run = debt.lacking(disk, from: offset) else {
        disk = (disk + 1) % stores.count
        offset = 0
        data = nil
        disksToSee -= 1
        continue
      }
      if let piece = try piece(run, store, slot) { return piece }
    }
    return nil
  }

  /// The piece with which the run begins; nil when it has changed in this moment.
  private mutating func piece(
    _ run: ByteRange, _ store: Store, _ slot: Int
  ) throws(StorageError) -> Piece? {
    let number = DiskNumber(UInt16(disk))
    let block = debt.blockByteCount(disk)
    let found: ByteRange?
    if let data, run.start >= data.start, run.start < data.end {
      found = ByteRange(start: run.start, end: data.end)
    } else {
      found = try store.nextDataRange(from: run.start, limit: run.end)
      data = found
    }
    let zerosEnd = found.map { $0.start / block * block } ?? run.end
    if zerosEnd > run.start {
      let range = ByteRange(start: run.start, end: zerosEnd)
      debt.take(disk, range)
      // What was written before it was taken is seen now; what comes later is lacking again.
      data = try store.nextDataRange(from: range.start, limit: range.end)
      if data != nil {
        debt.giveBack(disk, range)
        return nil
      }
      offset = range.end
      return .zeros(disk: number, range: range)
    }
    let dataEnd = found.map { ($0.end + block - 1) / block * block } ?? run.end
    let end = min(dataEnd, run.end, run.start + max(block, byteLimit / block * block))
    let range = ByteRange(start: run.start, end: end)
    precondition(range.length > 0 && range.length <= UInt64(Self.pieceByteLimit))
    debt.take(disk, range)
    let target = unsafe UnsafeMutableRawBufferPointer(
      start: buffer.base + slot * Self.pieceByteLimit, count: Int(range.length))
    try unsafe store.read(into: target, at: range.start)
    offset = range.end
    return .data(disk: number, range: range)
  }
}
