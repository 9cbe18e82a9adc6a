import BlockModel
import Journal
import Storage
import SystemIO

extension SavedExtents {
  /// Writes everything that was saved back to where it was: the disks are what they were when the
  /// overlay began. Durable when it returns; after a crash or a failure it is called again. Blocks;
  /// nobody else uses the disks.
  ///
  /// - Parameter stores: by number; nil: nothing was saved of that disk.
  public func putBack<Store: BackingStore>(to stores: [Store?]) throws(VolumeError) {
    let buffer = PageBuffer(byteCount: 1 << 20)
    for (index, store) in stores.enumerated() {
      guard let store else { continue }
      let disk = DiskNumber(UInt16(index))
      var (offset, written) = (UInt64(0), UInt64(0))
      while offset < store.byteCount {
        let (length, source) = piece(disk: disk, at: offset, limit: store.byteCount - offset)
        guard let source else {
          offset += length
          continue
        }
        let range = ByteRange(
          start: offset, length: source.isZeros ? length : min(length, UInt64(buffer.count)))
        let bytes = unsafe UnsafeMutableRawBufferPointer(
          start: buffer.base, count: source.isZeros ? 0 : Int(range.length))
        if !source.isZeros { _ = try unsafe read(source, into: bytes, waits: true) }
        do throws(StorageError) {
          if source.isZeros {
            try store.zero(range, mayFreeSpace: true)
          } else {
            try unsafe store.write(UnsafeRawBufferPointer(bytes), at: offset)
          }
          written += range.length
          if written >= Self.writeOutByteCount {
            try store.writeOut()
            written = 0
          }
        } catch { throw .base(error) }
        offset = range.end
      }
      do throws(StorageError) { try store.sync() } catch { throw .base(error) }
    }
  }

  private static var writeOutByteCount: UInt64 { 64 << 20 }

  /// Whether something of a disk of that size was saved.
  public func holdsAny(of disk: DiskNumber, _ byteCount: UInt64) -> Bool {
    holdsAny(disk: disk, of: ByteRange(start: 0, length: byteCount))
  }
}
