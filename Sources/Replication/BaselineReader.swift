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
///
/// Where the peer is asked what it has, no data is read before it has said so, and a piece has
/// whole blocks of what it has told.
struct BaselineReader<Store: BackingStore>: ~Copyable {
  enum Piece {
    case data(disk: DiskNumber, range: ByteRange)
    case zeros(disk: DiskNumber, range: ByteRange)
  }

  static var pieceByteLimit: Int { 1 << 20 }

  /// By number; of those that are not there nothing is lacking.
  private let stores: [Store?]
  private let debt: CopyDebt
  private let comparison: CopyComparison?
  private(set) var disk = 0
  private var offset: UInt64 = 0
  /// Of the disk: what it was last found to hold.
  private var data: ByteRange?
  /// Room for a piece in each slot.
  private let buffer: PageBuffer
  /// Of one piece: less than `pieceByteLimit` where that would be all.
  private let byteLimit: UInt64
  /// What comes next waits for a word of the peer.
  private(set) var isAwaiting = false

  /// - Parameters:
  ///   - comparison: nil: the peer is not asked.
  ///   - slots: how many pieces can be kept at a time.
  init(
    _ stores: [Store?], _ debt: CopyDebt, _ comparison: CopyComparison? = nil, slots: Int = 1
  ) {
    precondition(!stores.isEmpty && slots > 0, "a group has a disk")
    self.stores = stores
    self.debt = debt
    self.comparison = comparison
    buffer = PageBuffer(byteCount: slots * Self.pieceByteLimit)
    byteLimit = min(UInt64(Self.pieceByteLimit), max(4 << 10, debt.totalByteCount / 8))
  }

  /// The bytes of the last data piece in that slot; valid until the slot is used again.
  ///
  /// - Parameter place: of the first byte in the piece.
  func bytes(_ range: ByteRange, slot: Int = 0, from place: Int = 0) -> UnsafeRawBufferPointer {
    precondition(place + Int(range.length) <= Self.pieceByteLimit)
    return unsafe UnsafeRawBufferPointer(
      start: buffer.base + slot * Self.pieceByteLimit + place, count: Int(range.length))
  }

  /// Nil when nothing is lacking, or nothing is known of what is. Blocks on the store.
  mutating func next(slot: Int = 0) throws(StorageError) -> Piece? {
    isAwaiting = false
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
      if isAwaiting { return nil }
    }
    return nil
  }

  /// Where the block begins that has the byte, if something is to be said of it, or was.
  private func blockStart(_ disk: DiskNumber, _ offset: UInt64) -> UInt64? {
    let size = BlockDigest.blockByteCount
    guard let comparison else { return nil }
    if comparison.awaited(disk, from: offset) == offset { return offset / size * size }
    return comparison.block(disk, at: offset)?.start
  }

  /// Where a piece of data ends that may end at `end`, and that is in whole blocks where the peer
  /// has told of them; nil: it is to tell first.
  private func dataEnd(_ disk: DiskNumber, _ run: ByteRange, _ end: UInt64) -> UInt64? {
    guard let comparison else { return end }
    let (size, block) = (BlockDigest.blockByteCount, debt.blockByteCount(disk.index))
    var end = end
    if let start = blockStart(disk, end - 1) {
      let whole = start + size
      end = whole <= run.start + UInt64(Self.pieceByteLimit) ? min(whole, run.end) : start
    }
    guard let awaited = comparison.awaited(disk, from: run.start), awaited < end else { return end }
    let known = awaited / block * block
    return known > run.start ? known : nil
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
    let zerosEnd =
      found.map { data in
        let start = data.start / block * block
        return max(run.start, min(start, blockStart(number, data.start) ?? start))
      } ?? run.end
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
    let foundEnd = found.map { ($0.end + block - 1) / block * block } ?? run.end
    let limit = min(foundEnd, run.end, run.start + max(block, byteLimit / block * block))
    guard let end = dataEnd(number, run, limit) else {
      isAwaiting = true
      return nil
    }
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
