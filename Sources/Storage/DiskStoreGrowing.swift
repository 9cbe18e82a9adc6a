import BlockModel
import SystemIO

/// How a disk becomes larger while it is in use, in three steps, so that what must be durable
/// before the disk has its new size can be made so in between: ask, extend, adopt.
///
/// Offsets and lengths are bytes. The first two block. One caller at a time, on any thread.
extension DiskStore {
  /// The size that the disk can have: `configured`, or as large as the store now is when that is
  /// nil. Changes nothing.
  ///
  /// - Throws: `sizeDisagrees` when the store does not have the size and cannot be given it (only
  ///   a raw file can, and only a larger one), `unsuitable`, and what asking the store may throw.
  public func possibleByteCount(configured: UInt64?) throws(StorageError) -> UInt64 {
    switch self {
    case .file(let store): try store.possibleByteCount(configured: configured)
    case .nbd(let store): try store.possibleByteCount(configured: configured)
    case .snapshot(let store): store.byteCount
    }
  }

  /// Gives a raw file the length; other stores have it already. What is added reads as zeros.
  /// Durable when it returns. Requests see nothing of it before `adopt`.
  ///
  /// - Returns: what `takeBack` needs, should `adopt` not follow.
  public func extend(to byteCount: UInt64) throws(StorageError) -> Extension {
    guard case .file(let store) = self, !store.isBlockDevice else { return Extension(before: nil) }
    return Extension(before: try store.setLength(byteCount))
  }

  public struct Extension: Sendable {
    /// The length of the file; nil for what is no file.
    fileprivate let before: UInt64?
  }

  /// Undoes an `extend` that `adopt` has not followed. Blocks.
  public func takeBack(_ change: Extension) throws(StorageError) {
    guard case .file(let store) = self, let before = change.before else { return }
    _ = try store.setLength(before)
  }

  /// From now on `byteCount` is this, and requests up to there are executed. Does not block.
  public func adopt(byteCount: UInt64) {
    precondition(byteCount >= self.byteCount, "a store never shrinks")
    switch self {
    case .file(let store): store.adopt(byteCount: byteCount)
    case .nbd(let store): store.pool.adopt(byteCount: byteCount)
    case .snapshot: preconditionFailure("a snapshot stays as it is")
    }
  }
}

extension FileStore {
  fileprivate func possibleByteCount(configured: UInt64?) throws(StorageError) -> UInt64 {
    let present: UInt64
    do throws(Errno) { present = try file.size() } catch {
      throw StorageError(request(.open), error)
    }
    guard let configured, configured != present else { return present }
    guard configured > present, !isBlockDevice else {
      throw .sizeDisagrees(store: description, byteCount: present, expected: configured)
    }
    return configured
  }

  /// Returns the length before.
  fileprivate func setLength(_ byteCount: UInt64) throws(StorageError) -> UInt64 {
    do throws(Errno) {
      let before = try file.size()
      if before != byteCount {
        try owing { () throws(Errno) in try Self.grow(file, to: byteCount) }
      }
      return before
    } catch { throw StorageError(request(.extend), error) }
  }
}

extension NBDStore {
  fileprivate func possibleByteCount(configured: UInt64?) throws(StorageError) -> UInt64 {
    let present: UInt64
    do throws(NBDFailure) { present = try pool.askForByteCount() } catch {
      throw StorageError(request(.open), error)
    }
    try verifySize(present, of: description, expected: configured)
    var traits = pool.traits
    traits.byteCount = present
    if let obstacle = traits.obstacle {
      throw .unsuitable(store: description, reason: obstacle)
    }
    return present
  }
}
