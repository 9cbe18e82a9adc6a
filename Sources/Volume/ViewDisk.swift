import BlockModel
import Journal
import Storage
import SystemIO

/// A disk of a view, for a branch that is built on it.
public final class ViewDisk<File: JournalFile, Store: BackingStore>: StoreSnapshot {
  private let view: View<File, Store>
  private let disk: DiskNumber
  public let byteCount: UInt64
  public let description: String

  /// - Parameters:
  ///   - byteCount: of the disk at the instant; at most what its store has.
  ///   - description: for messages.
  public init(
    _ view: View<File, Store>, _ disk: DiskNumber, byteCount: UInt64, description: String
  ) {
    precondition(byteCount <= view.reader(disk: disk).store.byteCount, "a store never shrinks")
    self.view = view
    self.disk = disk
    self.byteCount = byteCount
    self.description = description
  }

  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) {
    do throws(VolumeError) { try unsafe view.read(disk: disk, at: offset, into: buffer) } catch {
      throw storageError(error, .read, offset, UInt64(buffer.count))
    }
  }

  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool {
    do throws(VolumeError) {
      return try unsafe view.readIfCached(disk: disk, at: offset, into: buffer)
    } catch { throw storageError(error, .read, offset, UInt64(buffer.count)) }
  }

  public func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange? {
    do throws(VolumeError) {
      return try view.nextDataRange(of: disk, from: offset, limit: limit)
    } catch { throw storageError(error, .findData, offset, limit - offset) }
  }

  private func storageError(
    _ error: VolumeError, _ operation: StorageError.Operation, _ offset: UInt64, _ length: UInt64
  ) -> StorageError {
    if case .base(let error) = error { return error }
    return .inputOutput(
      StorageError.Request(description, operation, offset, length), message: "\(error)")
  }
}

extension View {
  /// As `BackingStore.nextDataRange`, of a disk at the instant. Blocks.
  func nextDataRange(
    of disk: DiskNumber, from start: UInt64, limit: UInt64
  ) throws(VolumeError) -> ByteRange? {
    var offset = start
    while offset < limit {
      let range = ByteRange(start: offset, end: limit)
      let (length, content) = try content(of: disk, range)
      let piece = ByteRange(start: offset, length: length)
      switch content {
      case .zeros: offset = piece.end
      case .data: return piece
      case .base:
        let found = Result { () throws(StorageError) -> ByteRange? in
          try reader(disk: disk).store.nextDataRange(from: piece.start, limit: piece.end)
        }
        // Apply may have made a hole of what is saved now.
        guard try isStillThere(disk, piece, nil) else { continue }
        do throws(StorageError) {
          if let data = try found.get() { return data }
        } catch { throw .base(error) }
        offset = piece.end
      }
    }
    return nil
  }

  private enum Content { case zeros, data, base }

  private func content(
    of disk: DiskNumber, _ range: ByteRange
  ) throws(VolumeError) -> (length: UInt64, Content) {
    var length = range.length
    if let saved = detachment.overlay.load() {
      let (piece, source) = saved.piece(disk: disk, at: range.start, limit: length)
      if let source { return (piece, source.isZeros ? .zeros : .data) }
      length = piece
    }
    let (piece, source) = try pieceWaiting(disk: disk, at: range.start, limit: length)
    precondition(piece > 0 && piece <= length && source != .unresolved)
    guard let source else { return (piece, .base) }
    return (piece, source.isZeros ? .zeros : .data)
  }
}
