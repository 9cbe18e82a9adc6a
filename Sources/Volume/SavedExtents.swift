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

/// An overlay: bytes of a group's disks that lie apart from the disks, in a file of their own.
///
/// The file is a log: what is stored goes to its end, and an extent map of each disk says where.
/// Bytes are in the file before the map names them, and where the map points nothing is written
/// again, so a reader never sees half of what is being stored. What the system could not write is
/// not served: the overlay is lost then.
///
/// A view's overlay is a scratch file, which is never synced: it means nothing after a restart. A
/// branch's lasts (`SavedLog`): `settle` makes it durable, and a loss is noted in it.
///
/// One thread at a time stores; any thread reads meanwhile.
public final class SavedExtents<File: JournalFile>: Sendable {
  /// What an extent counts against the budget at least, in bytes: that bounds the maps, too.
  public static var leastCharge: UInt64 { 512 }

  /// `Mutex` cannot be an element of an array, and neither can a map.
  private final class DiskExtents: Sendable {
    let map = Mutex(ExtentMap())
  }

  private struct State {
    /// Nil until there are bytes.
    var file: File?
    var end: UInt64 = 0
    var charged: UInt64 = 0
    /// Nothing before this position is lost by a power cut; of an overlay that lasts.
    var durableEnd: UInt64 = 0
    var failure: VolumeError?
    /// Of an overlay that lasts: the failure is durable.
    var isLossNoted = false
    /// What was stored may not be there any more.
    var loss: Errno?
  }

  private let budget: ScratchBudget
  /// Of an overlay that lasts: whose it is.
  private let identity: [UInt8]?
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
    identity = nil
    disks = (0..<diskCount).map { _ in DiskExtents() }
  }

  /// An overlay that lasts, with what its file holds; what the file cannot vouch for is not there.
  /// Blocks: reads the header of each entry, and those bytes that no later entry calls durable.
  ///
  /// - Parameters:
  ///   - identity: 16 bytes, as given to `createLasting`.
  ///   - diskCount: above the number of each disk that may be saved.
  public init(
    lasting file: File, identity: [UInt8], diskCount: Int, budget: ScratchBudget
  ) throws(VolumeError) {
    self.budget = budget
    self.identity = identity
    create = { () throws(Errno) -> File in throw .io }
    disks = (0..<diskCount).map { _ in DiskExtents() }
    // Not what a failed sync left in memory.
    file.forgetCached()
    do throws(Errno) {
      switch try SavedLog.readHead(of: file, identity) {
      case .intact: break
      case .lost, .foreign:
        state.withLock {
          $0.failure = .savedLost
          $0.isLossNoted = true
        }
      }
      state.withLock {
        $0.file = file
        $0.end = SavedLog.headByteCount
      }
      if !isLost { try recover(file, identity) }
    } catch { throw .scratch(error) }
  }

  /// An overlay that lasts and whose file is gone: it is lost.
  public init(missing identity: [UInt8], diskCount: Int, budget: ScratchBudget) {
    self.budget = budget
    self.identity = identity
    create = { () throws(Errno) -> File in throw .io }
    disks = (0..<diskCount).map { _ in DiskExtents() }
    state.withLock {
      $0.failure = .savedLost
      $0.isLossNoted = true
    }
  }

  /// Makes the file of an overlay that lasts, with nothing in it. Durable, with its name, when it
  /// returns. Blocks.
  public static func createLasting<Storage: JournalStorage>(
    _ name: String, in storage: Storage, identity: [UInt8]
  ) throws(Errno) where Storage.File == File {
    let file = try storage.create(name, byteCount: Int(SavedLog.headByteCount))
    try SavedLog.write(SavedLog.head(identity), to: file, at: 0)
    try file.syncData()
  }

  private func recover(_ file: File, _ identity: [UInt8]) throws(Errno) {
    var found: [(entry: SavedLog.Entry, position: UInt64)] = []
    var end = SavedLog.headByteCount
    var durableEnd = end
    while let entry = SavedLog.Entry(
      try SavedLog.bytes(of: file, at: end, SavedLog.Entry.byteCount), identity)
    {
      let position = end + UInt64(SavedLog.Entry.byteCount)
      guard entry.disk.index < disks.count else { break }
      found.append((entry, position))
      durableEnd = max(durableEnd, entry.durableEnd)
      end = position + (entry.isZeros ? 0 : entry.range.length)
    }
    end = SavedLog.headByteCount
    for (entry, position) in found {
      let next = position + (entry.isZeros ? 0 : entry.range.length)
      if next > durableEnd, !entry.isZeros, try !verifies(entry, at: position, file) { break }
      let source = entry.isZeros ? ExtentSource.zeros : ExtentSource(rawValue: position)
      do throws(VolumeError) { try charge(entry.isZeros ? 0 : entry.range.length) } catch {
        giveUp(error)
        return
      }
      publish(entry.range, source, on: entry.disk)
      end = next
    }
    state.withLock {
      $0.end = end
      $0.durableEnd = min(durableEnd, end)
    }
  }

  private func verifies(
    _ entry: SavedLog.Entry, at position: UInt64, _ file: File
  ) throws(Errno) -> Bool {
    guard let count = Int(exactly: entry.range.length), count <= Self.longestEntry else {
      return false
    }
    #if MUTANTS
      if Mutant.trustSavedTail.isOn { return true }
    #endif
    let bytes = try SavedLog.bytes(of: file, at: position, count)
    return bytes.count == count && Self.sum(bytes) == entry.sum
  }

  /// Nobody saves more at once.
  private static var longestEntry: Int { 64 << 20 }

  private static func sum(_ bytes: [UInt8]) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe CRC32C.standard($0) }
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
    precondition(bytes.count <= Self.longestEntry, "an entry is what one batch saves")
    try charge(count)
    let range = ByteRange(start: offset, length: count)
    var position = state.withLock { $0.end }
    do throws(Errno) {
      let file = try scratchFile()
      if let identity {
        let sum = unsafe CRC32C.standard(bytes)
        try write(entry(disk, range, isZeros: false, sum), identity, to: file, at: position)
        position += UInt64(SavedLog.Entry.byteCount)
      }
      try unsafe file.write(bytes, at: position)
    } catch { throw .scratch(error) }
    state.withLock { $0.end = position + count }
    // The whole word is the position in the file: it has no segments.
    publish(range, ExtentSource(rawValue: position), on: disk)
  }

  /// Stores that the disk's bytes in `range` are zeros. Throws `scratchFull`, and `scratch` of an
  /// overlay that lasts.
  public func storeZeros(disk: DiskNumber, _ range: ByteRange) throws(VolumeError) {
    try charge(0)
    if let identity {
      let position = state.withLock { $0.end }
      do throws(Errno) {
        try write(
          entry(disk, range, isZeros: true, 0), identity, to: scratchFile(), at: position)
      } catch { throw .scratch(error) }
      state.withLock { $0.end = position + UInt64(SavedLog.Entry.byteCount) }
    }
    publish(range, .zeros, on: disk)
  }

  private func entry(
    _ disk: DiskNumber, _ range: ByteRange, isZeros: Bool, _ sum: UInt32
  ) -> SavedLog.Entry {
    SavedLog.Entry(
      disk, range, isZeros: isZeros, sum: sum, durableEnd: state.withLock { $0.durableEnd })
  }

  private func write(
    _ entry: SavedLog.Entry, _ identity: [UInt8], to file: File, at position: UInt64
  ) throws(Errno) {
    try SavedLog.write(entry.encoded(identity), to: file, at: position)
  }

  /// What was stored is durable when this returns, if the overlay lasts. Blocks; by the thread that
  /// stores.
  public func settle() throws(VolumeError) {
    #if MUTANTS
      if Mutant.forgetSavedSync.isOn { return }
    #endif
    let (stored, end, durableEnd, loss) = state.withLock {
      ($0.file, $0.end, $0.durableEnd, $0.loss)
    }
    guard identity != nil, let file = stored, end > durableEnd else { return }
    // What a sync could not write is lost, though the next one says nothing of it.
    if let loss { throw .scratch(loss) }
    do throws(Errno) { try file.syncData() } catch {
      state.withLock { $0.loss = error }
      throw .scratch(error)
    }
    // The system tells of a loss once, and a reader may have been told meanwhile.
    let told = state.withLock { state -> Errno? in
      if state.loss == nil { state.durableEnd = end }
      return state.loss
    }
    if let told { throw .scratch(told) }
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

  /// As `giveUp`; where the overlay lasts, that is durable when this returns. Throws when it cannot
  /// be: then nothing may be written over yet. Blocks.
  public func giveUpForGood(_ error: VolumeError) throws(VolumeError) {
    #if MUTANTS
      if Mutant.forgetLoss.isOn { return giveUp(error) }
    #endif
    if identity != nil, let file = state.withLock({ $0.file }) {
      do throws(Errno) { try SavedLog.noteLoss(in: file) } catch { throw .scratch(error) }
    }
    giveUp(error)
    state.withLock { $0.isLossNoted = true }
  }

  /// It is lost, and after a start would not know that: nothing may be written over yet.
  public var mustNoteLoss: Bool {
    #if MUTANTS
      if Mutant.forgetLoss.isOn { return false }
    #endif
    return identity != nil && state.withLock { $0.failure != nil && !$0.isLossNoted }
  }

  public var isLost: Bool { failure != nil }

  /// Why it was given up; nil while it was not.
  public var failure: VolumeError? { state.withLock { $0.failure } }
}
