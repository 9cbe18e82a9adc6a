import BlockModel
import Storage

extension BackingStore {
  /// Writes a piece of a full copy. Blocks.
  public func write(_ bytes: [UInt8], at offset: UInt64) throws(StorageError) {
    var failure: StorageError?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(StorageError) { try unsafe write(buffer, at: offset) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Makes the range read as zeros, but leaves alone what does already: a new target stays sparse.
  /// Blocks.
  public func clear(_ range: ByteRange) throws(StorageError) {
    var offset = range.start
    while offset < range.end,
      let data = try nextDataRange(from: offset, limit: range.end)
    {
      try zero(data, mayFreeSpace: true)
      offset = data.end
    }
  }
}
