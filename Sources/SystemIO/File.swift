import CLinux
import Glibc

/// A regular file or block device, shared between threads: all operations name their position.
///
/// Every call may block on the disk unless it says otherwise. Short transfers are continued here,
/// so a call either moves all bytes or throws.
public final class File: Sendable {
  public let path: String
  private let descriptor: Descriptor

  /// The most vectors that one call takes (`IOV_MAX`).
  private static let vectorLimit = 1024

  public enum Access: Sendable { case readOnly, readWrite }

  /// Opens an existing file.
  public init(opening path: String, _ access: Access) throws(Errno) {
    let flags = (access == .readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
    descriptor = Descriptor(owning: try retrying { SystemCalls.open(path, flags) })
    self.path = path
  }

  /// Creates a file that must not exist yet. The name is durable after `Directory.sync`.
  public init(creating path: String, permissions: mode_t = 0o600) throws(Errno) {
    let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
    descriptor = Descriptor(owning: try retrying { SystemCalls.open(path, flags, permissions) })
    self.path = path
  }

  /// A file that another process opened, for reading and writing, with the locks it has taken.
  public init(adopting descriptor: consuming Descriptor, path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  /// Whether `path` names this very file or device.
  public func isFile(at path: String) -> Bool {
    var own = stat()
    var other = stat()
    guard unsafe fstat(descriptor.raw, &own) == 0, unsafe stat(path, &other) == 0 else {
      return false
    }
    return own.st_dev == other.st_dev && own.st_ino == other.st_ino
  }

  /// Whether both paths name one file or device; not where one of them names nothing.
  public static func isSame(_ path: String, as other: String) -> Bool {
    var first = stat()
    var second = stat()
    guard unsafe stat(path, &first) == 0, unsafe stat(other, &second) == 0 else { return false }
    let isDevice = first.st_mode & S_IFMT == S_IFBLK && second.st_mode & S_IFMT == S_IFBLK
    if isDevice { return first.st_rdev == second.st_rdev }
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  /// Asks that transfers bypass the page cache, or ends that. False when the file system cannot.
  /// While it holds, memory, offsets and lengths must be multiples of 4096.
  public func setDirect(_ isDirect: Bool) -> Bool {
    guard let flags = try? retrying({ SystemCalls.flags(descriptor.raw) }) else { return false }
    let wanted = isDirect ? flags | Int32(LINUX_O_DIRECT) : flags & ~Int32(LINUX_O_DIRECT)
    return (try? retrying { SystemCalls.setFlags(descriptor.raw, wanted) }) != nil
  }

  /// All bytes of a small file: `fileTooLarge` when it has more than `limit`.
  public static func contents(of path: String, limit: Int) throws(Errno) -> [UInt8] {
    let file = try File(opening: path, .readOnly)
    var bytes = [UInt8](repeating: 0, count: limit + 1)
    var failure: Errno?
    let count = unsafe bytes.withUnsafeMutableBytes { buffer -> Int in
      do throws(Errno) { return try unsafe file.read(into: buffer, at: 0) } catch {
        failure = error
        return 0
      }
    }
    if let failure { throw failure }
    guard count <= limit else { throw .fileTooLarge }
    bytes.removeLast(bytes.count - count)
    return bytes
  }

  /// Valid while this object lives; for `sendfile`.
  public var rawDescriptor: Int32 { descriptor.raw }

  /// Size in bytes, also of a block device.
  public func size() throws(Errno) -> UInt64 {
    let end = try retrying { SystemCalls.seek(descriptor.raw, 0, SEEK_END) }
    return UInt64(end)
  }

  public func isBlockDevice() throws(Errno) -> Bool {
    var status = stat()
    _ = try retrying { SystemCalls.status(descriptor.raw, &status) }
    return status.st_mode & S_IFMT == S_IFBLK
  }

  /// Who may do what: the lower nine bits of its mode, and those of set-user-ID and the like.
  public func permissions() throws(Errno) -> UInt32 {
    var status = stat()
    _ = try retrying { SystemCalls.status(descriptor.raw, &status) }
    return UInt32(status.st_mode) & 0o7777
  }

  /// Whether its file system is of the network or of a process (FUSE).
  public var isRemote: Bool { SystemCalls.isRemote(descriptor.raw) }

  public func truncate(to byteCount: UInt64) throws(Errno) {
    _ = try retrying { SystemCalls.truncate(descriptor.raw, off_t(byteCount)) }
  }

  /// Fills `buffer` from `offset`. Returns fewer bytes only at the end of the file.
  @discardableResult
  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    var done = 0
    while done < buffer.count {
      let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
      let count = try retrying {
        unsafe SystemCalls.read(descriptor.raw, rest, off_t(offset) + off_t(done))
      }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// As `read`, but only from memory: false, with `buffer` undefined, when the disk or a lock
  /// would have to be waited for. Does not block.
  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Bool {
    let count: Int?
    do {
      count = try retryingNonblocking {
        unsafe SystemCalls.readCached(descriptor.raw, buffer, off_t(offset))
      }
    } catch Errno.notSupported {
      return false
    }
    return count == buffer.count
  }

  public func write(
    _ buffer: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(Errno) {
    var done = 0
    while done < buffer.count {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[done...])
      let count = try retrying {
        unsafe SystemCalls.write(descriptor.raw, rest, off_t(offset) + off_t(done))
      }
      if count == 0 { throw Errno.io }
      done += count
    }
  }

  /// Writes the vectors one after the other, in one call where the system takes them so.
  ///
  /// The array's entries are consumed: after a short write they are advanced in place.
  public func write(
    vectors: UnsafeMutableBufferPointer<iovec>, at offset: UInt64
  ) throws(Errno) {
    var position = off_t(offset)
    var first = 0
    while first < vectors.count {
      let count = min(vectors.count - first, Self.vectorLimit)
      let rest = unsafe UnsafeBufferPointer(rebasing: vectors[first..<first + count])
      var written = try retrying {
        unsafe SystemCalls.write(descriptor.raw, rest, position)
      }
      if written == 0 { throw Errno.io }
      position += off_t(written)
      #if MUTANTS
        if Mutant.ignoreShortWrite.isOn { return }
      #endif
      while written > 0 {
        let length = unsafe vectors[first].iov_len
        if written >= length {
          written -= length
          first += 1
        } else {
          unsafe vectors[first].iov_base += written
          unsafe vectors[first].iov_len -= written
          written = 0
        }
      }
    }
  }

  /// Data written before is durable when this returns. After an error it may not be, and a later
  /// success does not mean that it is: what was lost must be written again.
  public func syncData() throws(Errno) {
    _ = try retrying { SystemCalls.syncData(descriptor.raw) }
  }

  /// Starts to write what is dirty to the disk, after waiting for what was started before. Makes
  /// nothing durable: it keeps a later sync short, and the disk's queue from being filled at once.
  ///
  /// Throws what a sync would: Linux tells of a write that was lost once for each open file. After
  /// that, a sync succeeds.
  public func writeOut() throws(Errno) {
    let flags = UInt32(LINUX_SYNC_WAIT_BEFORE | LINUX_SYNC_WRITE)
    _ = try retrying { SystemCalls.syncRange(descriptor.raw, 0, flags) }
  }

  /// Throws if something that was written to the file is lost, as far as the system knows, and this
  /// object was not told yet. Does not block.
  public func checkLosses() throws(Errno) {
    let behindAll = off_t(1) << 62
    let flags = UInt32(LINUX_SYNC_WAIT_BEFORE)
    _ = try retrying { SystemCalls.syncRange(descriptor.raw, behindAll, flags) }
  }

  /// As `syncData`, with all metadata.
  public func syncAll() throws(Errno) {
    _ = try retrying { SystemCalls.syncAll(descriptor.raw) }
  }

  /// Makes the range read as zeros and frees its space.
  public func punchHole(at offset: UInt64, count: UInt64) throws(Errno) {
    try allocate(Int32(LINUX_FALLOC_PUNCH_HOLE) | Int32(LINUX_FALLOC_KEEP_SIZE), offset, count)
  }

  /// Makes the file `byteCount` long, with a block set aside for every byte.
  public func allocate(byteCount: Int) throws(Errno) {
    _ = try retrying { SystemCalls.allocate(descriptor.raw, 0, 0, off_t(byteCount)) }
  }

  /// Makes the range read as zeros and keeps its space.
  public func zeroRange(at offset: UInt64, count: UInt64) throws(Errno) {
    try allocate(Int32(LINUX_FALLOC_ZERO_RANGE) | Int32(LINUX_FALLOC_KEEP_SIZE), offset, count)
  }

  private func allocate(_ mode: Int32, _ offset: UInt64, _ count: UInt64) throws(Errno) {
    _ = try retrying { SystemCalls.allocate(descriptor.raw, mode, off_t(offset), off_t(count)) }
  }

  /// Tells the kernel that the range will be read soon. A hint; may wait for the disk's queue.
  public func prefetch(at offset: UInt64, count: UInt64) {
    SystemCalls.willNeed(descriptor.raw, off_t(offset), off_t(count))
  }

  /// What is read from now on comes from the disk, but for what is not written to it yet. After a
  /// failed sync memory holds bytes that count as written and never were. Of those no sync tells
  /// any more, as nobody reads them.
  public func forgetCached() {
    try? checkLosses()
    dropCached()
  }

  /// As `forgetCached`; what is lost is told as ever.
  public func dropCached() { SystemCalls.forgetCached(descriptor.raw) }

  /// The first offset at or after `offset` that holds data; nil when only a hole follows.
  public func nextData(from offset: UInt64) throws(Errno) -> UInt64? {
    do {
      let start = try retrying {
        SystemCalls.seek(descriptor.raw, off_t(offset), Int32(LINUX_SEEK_DATA))
      }
      return UInt64(start)
    } catch Errno(ENXIO) {
      return nil
    }
  }

  /// The first hole at or after `offset`; the end of the file counts as one.
  public func nextHole(from offset: UInt64) throws(Errno) -> UInt64 {
    UInt64(try retrying { SystemCalls.seek(descriptor.raw, off_t(offset), Int32(LINUX_SEEK_HOLE)) })
  }

  /// Takes the file's exclusive lock without waiting: false when another process holds it. The
  /// lock ends with `unlock`, this object or the process.
  public func tryLock() throws(Errno) -> Bool {
    try retryingNonblocking { SystemCalls.lock(descriptor.raw) } != nil
  }

  /// Lets others have the lock though the file stays open.
  public func unlock() { SystemCalls.unlock(descriptor.raw) }
}
