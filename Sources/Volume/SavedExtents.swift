import BlockModel
import Journal
import Synchronization
import SystemIO

/// How many bytes the scratch files of one group may take together. Any thread.
public final class ScratchBudget: Sendable {
  public let byteLimit: UInt64
  private let used = Mutex<UInt64>(0)

  public init(byteLimit: UInt64) { self.byteLimit = byteLimit }

  /// What is taken now, in bytes.
  public var usedByteCount: UInt64 { used.withLock { $0 } }

  /// False, and nothing is taken, when that would exceed the limit.
  func take(_ byteCount: UInt64) -> Bool {
    used.withLock { used in
      guard byteCount <= byteLimit - used else { return false }
      used += byteCount
      return true
    }
  }

  func giveBack(_ byteCount: UInt64) {
    used.withLock { used in
      precondition(byteCount <= used, "given back twice")
      used -= byteCount
    }
  }
}

/// An overlay: bytes of a group's disks that lie apart from the disks, in a scratch file.
///
/// The file is a log: what is stored goes to its end, and an extent map of each disk says where.
/// Zeros take no bytes of it. Bytes are in the file before the map names them, and where the map
/// points nothing is written again, so a reader never sees half of what is being stored. The file
/// is never synced: it means nothing after a restart. What the system could not write is not
/// served: the overlay is lost then.
///
/// One thread at a time stores; any thread reads meanwhile.
public final class SavedExtents<File: JournalFile>: Sendable {
  /// What an extent counts against the budget at least, in bytes: that bounds the maps, too.
  static var leastCharge: UInt64 { 512 }

  /// `Mutex` cannot be an element of an array, and neither can a map.
  private final class DiskExtents: Sendable {
    let map = Mutex(ExtentMap())
  }

  private struct State {
    /// Nil until there are bytes.
    var file: File?
    var end: UInt64 = 0
    var charged: UInt64 = 0
    var failure: VolumeError?
    /// What was stored may not be there any more.
    var loss: Errno?
  }

  private let budget: ScratchBudget
  private let create: @Sendable () throws(Errno) -> File
  private let disks: [DiskExtents]
  private let state = Mutex(State())

  /// - Parameter create: makes the empty scratch file; called by the first `store`. The file is
  ///   this overlay's own and ends with it.
  public init(
    diskCount: Int, budget: ScratchBudget, create: @escaping @Sendable () throws(Errno) -> File
  ) {
    self.budget = budget
    self.create = create
    disks = (0..<diskCount).map { _ in DiskExtents() }
  }

  deinit { budget.giveBack(byteCount) }

  /// What this overlay takes of the budget, in bytes.
  public var byteCount: UInt64 { state.withLock { $0.charged } }

  // MARK: Storing

  /// Stores the disk's bytes from `offset`; readers find them when this returns. Blocks. Throws
  /// `scratchFull` or `scratch`; then nothing has changed for readers.
  public func store(
    _ bytes: UnsafeRawBufferPointer, disk: DiskNumber, at offset: UInt64
  ) throws(VolumeError) {
    precondition(bytes.count > 0 && disk.index < disks.count)
    let count = UInt64(bytes.count)
    try charge(count)
    let position = state.withLock { $0.end }
    do throws(Errno) {
      try unsafe scratchFile().write(bytes, at: position)
    } catch { throw .scratch(error) }
    state.withLock { $0.end += count }
    // The whole word is the position in the file: a scratch file has no segments.
    publish(
      ByteRange(start: offset, length: count), ExtentSource(rawValue: position), on: disk)
  }

  /// Stores that the disk's bytes in `range` are zeros. Throws `scratchFull`.
  public func storeZeros(disk: DiskNumber, _ range: ByteRange) throws(VolumeError) {
    try charge(0)
    publish(range, .zeros, on: disk)
  }

  private func charge(_ byteCount: UInt64) throws(VolumeError) {
    let charge = max(byteCount, Self.leastCharge)
    guard budget.take(charge) else { throw .scratchFull(byteLimit: budget.byteLimit) }
    state.withLock { $0.charged += charge }
  }

  private func scratchFile() throws(Errno) -> File {
    if let file = state.withLock({ $0.file }) { return file }
    let file = try create()
    state.withLock { $0.file = file }
    return file
  }

  private func publish(_ range: ByteRange, _ source: ExtentSource, on disk: DiskNumber) {
    disks[disk.index].map.withLock { $0.insert(range, source) }
  }

  // MARK: Reading

  /// Where the disk's bytes at `offset` are in this overlay, and for how many bytes (at most
  /// `limit`) that holds. A nil source: it has nothing there.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    disks[disk.index].map.withLock { $0.piece(at: offset, limit: limit) }
  }

  /// Whether any byte of the range is stored.
  public func holdsAny(disk: DiskNumber, of range: ByteRange) -> Bool {
    let (length, source) = piece(disk: disk, at: range.start, limit: range.length)
    return source != nil || length < range.length
  }

  /// Fills `buffer` from a source that `piece` gave.
  ///
  /// - Parameter waits: false: the call does not block, and gives false, with `buffer` undefined,
  ///   when the bytes are not in memory.
  public func read(
    _ source: ExtentSource, into buffer: UnsafeMutableRawBufferPointer, waits: Bool
  ) throws(VolumeError) -> Bool {
    if source.isZeros {
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      return true
    }
    let (stored, end) = state.withLock { ($0.file, $0.end) }
    guard let file = stored else { throw .scratch(.io) }
    precondition(source.rawValue + UInt64(buffer.count) <= end, "nothing was stored there")
    let isRead: Bool
    do throws(Errno) {
      if waits {
        let count = try unsafe file.read(into: buffer, at: source.rawValue)
        if count < buffer.count { throw .io }
        isRead = true
      } else {
        isRead = try unsafe file.readIfCached(into: buffer, at: source.rawValue)
      }
    } catch { throw .scratch(error) }
    if isRead { try checkLosses(of: file) }
    return isRead
  }

  /// Pages that could not be written to the disk are read as what is there once they have left
  /// memory. The system told of that before, to whoever asked: so it is asked after the read, and
  /// under the lock, because it tells once.
  private func checkLosses(of file: File) throws(VolumeError) {
    let loss = state.withLock { state -> Errno? in
      do throws(Errno) { try file.checkLosses() } catch {
        state.loss = error
        state.failure = state.failure ?? .scratch(error)
      }
      return state.loss
    }
    if let loss { throw .scratch(loss) }
  }

  // MARK: Giving up

  /// What had to be stored could not be: what this overlay does not hold is lost from now on.
  public func giveUp(_ error: VolumeError) {
    state.withLock { $0.failure = $0.failure ?? error }
  }

  public var isLost: Bool { failure != nil }

  /// Why it was given up; nil while it was not.
  public var failure: VolumeError? { state.withLock { $0.failure } }
}
