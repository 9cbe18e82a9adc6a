import BlockModel
import Storage
import SystemIO

/// Walks over the disks of a group and gives their contents piece by piece, for a full copy.
///
/// It reads the bases while writes and apply go on: what it reads of a block that is being changed
/// may be old, new or torn, and is set right by the records that the stream brings. So is what lies
/// behind the sizes at the beginning, when a disk grows meanwhile.
struct BaselineReader<Store: BackingStore>: ~Copyable {
  enum Piece {
    case data(disk: DiskNumber, range: ByteRange)
    case zeros(disk: DiskNumber, range: ByteRange)
  }

  static var pieceByteLimit: Int { 1 << 20 }

  private let stores: [Store]
  private let byteCounts: [UInt64]
  private var disk = 0
  private var offset: UInt64 = 0
  private var data: ByteRange?
  private let buffer = PageBuffer(byteCount: Self.pieceByteLimit)
  private let totalByteCount: UInt64
  private var doneByteCount: UInt64 = 0

  /// - Parameter byteCounts: of each disk, what is copied.
  init(_ stores: [Store], byteCounts: [UInt64]) {
    self.stores = stores
    self.byteCounts = byteCounts
    totalByteCount = byteCounts.reduce(0, +)
  }

  /// 0 to 1.
  var progress: Double {
    totalByteCount == 0 ? 1 : Double(doneByteCount) / Double(totalByteCount)
  }

  /// The bytes of the last data piece; valid until `next`.
  func bytes(_ range: ByteRange) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: buffer.base, count: Int(range.length))
  }

  /// Nil at the end of the last disk. Blocks on the store.
  mutating func next() throws(StorageError) -> Piece? {
    while disk < stores.count {
      let (store, byteCount) = (stores[disk], byteCounts[disk])
      if offset >= byteCount {
        disk += 1
        offset = 0
        data = nil
        continue
      }
      let number = DiskNumber(UInt16(disk))
      if let range = data, offset >= range.start, offset < range.end {
        return try readData(store, number, range)
      }
      let found = try store.nextDataRange(from: offset, limit: byteCount)
      data = found
      let zeroEnd = found?.start ?? byteCount
      if zeroEnd > offset {
        let range = ByteRange(start: offset, end: zeroEnd)
        advance(range)
        return .zeros(disk: number, range: range)
      }
    }
    return nil
  }

  private mutating func readData(
    _ store: Store, _ number: DiskNumber, _ data: ByteRange
  ) throws(StorageError) -> Piece {
    let length = min(UInt64(Self.pieceByteLimit), data.end - offset)
    let range = ByteRange(start: offset, length: length)
    let target = unsafe UnsafeMutableRawBufferPointer(start: buffer.base, count: Int(length))
    try unsafe store.read(into: target, at: offset)
    advance(range)
    return .data(disk: number, range: range)
  }

  private mutating func advance(_ range: ByteRange) {
    offset = range.end
    doneByteCount += range.length
  }
}
