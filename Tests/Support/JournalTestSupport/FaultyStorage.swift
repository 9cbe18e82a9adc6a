import Journal
import StorageTesting
import Synchronization
import SystemIO
import TestSupport

/// A journal folder in memory, with a disk below it that can fail and lose power.
///
/// The fault model:
///
/// - A file has two images. Reads and writes use the page cache; only the durable image is left
///   after a power cut. The unit of both is a sector of 512 bytes, which is never torn itself.
/// - A write makes its sectors dirty. A sync makes the durable image of that one file equal to its
///   cache. Nothing else does: syncing one file says nothing about another.
/// - The kernel writes dirty sectors back whenever it likes, in any order. So at a power cut each
///   dirty sector is durable or not, independently (how likely that is differs from file to file,
///   so that whole files are lost as well). A dirty sector that is written again may have reached
///   the disk in between: then its older content is what a power cut leaves.
/// - A write behind the end makes the file longer, durably.
/// - `replace` makes nothing durable but the length; a file that it created may be gone after a
///   power cut.
/// - `create` leaves a durable name and durable zeros. A create that fails leaves nothing.
/// - A write that fails has changed any number of bytes from its start. After a failed sync the
///   dirty sectors count as clean and are not durable, as on Linux: a later sync does not bring
///   them back.
/// - A process that ends without a power cut loses nothing that was written.
///
/// All randomness comes from one seeded generator.
public final class FaultyStorage: JournalStorage {
  private let files = Mutex<[String: FaultyFile]>([:])
  /// Names that a power cut may take.
  private let looseNames = Mutex<Set<String>>([])
  public let faults: Faults

  public init(seed: UInt64) { faults = Faults(seed: seed) }

  public func names() throws(Errno) -> [String] { files.withLock { $0.keys.sorted() } }

  public func open(_ name: String) throws(Errno) -> FaultyFile {
    guard let file = files.withLock({ $0[name] }) else { throw .notFound }
    return file
  }

  public func create(_ name: String, byteCount: Int) throws(Errno) -> FaultyFile {
    if let failure = faults.take(.create) { throw failure }
    let file = FaultyFile(byteCount: byteCount, faults: faults)
    files.withLock { $0[name] = file }
    return file
  }

  public func rewrite(_ name: String) throws(Errno) -> FaultyFile {
    if let file = files.withLock({ $0[name] }) {
      file.resize(0)
      return file
    }
    if let failure = faults.take(.create) { throw failure }
    let file = FaultyFile(byteCount: 0, faults: faults)
    files.withLock { $0[name] = file }
    _ = looseNames.withLock { $0.insert(name) }
    return file
  }

  public func scratch() throws(Errno) -> FaultyFile {
    if let failure = faults.take(.create) { throw failure }
    return FaultyFile(byteCount: 0, isScratch: true, faults: faults)
  }

  public func remove(_ name: String) throws(Errno) {
    guard files.withLock({ $0.removeValue(forKey: name) }) != nil else { throw .notFound }
  }

  /// The power fails and comes back: only durable sectors are left, and some dirty ones.
  public func crash() {
    let all = files.withLock { $0.sorted { $0.key < $1.key }.map(\.value) }
    for file in all { file.crash() }
    let loose = looseNames.withLock { names in
      defer { names.removeAll() }
      return names.sorted()
    }
    for name in loose where faults.chance(30) { files.withLock { $0[name] = nil } }
  }
}

/// What goes wrong next, and the generator of chance. Shared by a storage and its files.
public final class Faults: Sendable {
  public enum Operation: Hashable, Sendable {
    case read, write, sync, create, writeBack
    /// Of a file without a name.
    case scratchRead
  }

  private struct State {
    var generator: SeededGenerator
    var failures: [Operation: (skip: Int, errno: Errno)] = [:]
    var standing: [Operation: Errno] = [:]
    var readByteCount = 0
  }

  private let state: Mutex<State>
  /// Before a file is read.
  public let onRead = Interruption()

  init(seed: UInt64) { state = Mutex(State(generator: SeededGenerator(seed: seed))) }

  /// The call of `operation` after `skip` good ones throws `errno`.
  public func fail(_ operation: Operation, with errno: Errno, afterCalls skip: Int = 0) {
    state.withLock { $0.failures[operation] = (skip, errno) }
  }

  /// Each call of `operation` throws `errno`, until it is nil.
  public func failAlways(_ operation: Operation, with errno: Errno?) {
    state.withLock { $0.standing[operation] = errno }
  }

  func take(_ operation: Operation) -> Errno? {
    state.withLock { state in
      if let errno = state.standing[operation] { return errno }
      guard let failure = state.failures[operation] else { return nil }
      state.failures[operation] = failure.skip == 0 ? nil : (failure.skip - 1, failure.errno)
      return failure.skip == 0 ? failure.errno : nil
    }
  }

  /// Bytes that all files' reads have given.
  public var readByteCount: Int { state.withLock { $0.readByteCount } }

  func noteRead(_ byteCount: Int) { state.withLock { $0.readByteCount += byteCount } }

  func chance(_ percent: UInt64) -> Bool { state.withLock { $0.generator.chance(percent) } }
  func below(_ bound: Int) -> Int { state.withLock { $0.generator.below(bound) } }
}

/// A file of a `FaultyStorage`.
public final class FaultyFile: JournalFile {
  public static let sectorByteCount = 512

  private struct Images {
    var cached: [UInt8]
    var durable: [UInt8]
    var dirty: Set<Int> = []
  }

  private let images: Mutex<Images>
  private let faults: Faults

  private let isScratch: Bool

  init(byteCount: Int, isScratch: Bool = false, faults: Faults) {
    self.isScratch = isScratch
    let zeros = [UInt8](repeating: 0, count: byteCount)
    images = Mutex(Images(cached: zeros, durable: zeros))
    self.faults = faults
  }

  public var bytes: [UInt8] { images.withLock { $0.cached } }
  public var durableBytes: [UInt8] { images.withLock { $0.durable } }

  /// Changes bytes behind the journal's back, durably: damage.
  public func damage(_ position: Int, _ change: (UInt8) -> UInt8) {
    images.withLock {
      $0.cached[position] = change($0.cached[position])
      $0.durable[position] = $0.cached[position]
    }
  }

  public func write(_ pieces: inout GatherList, at offset: UInt64) throws(Errno) {
    var all: [UInt8] = []
    unsafe pieces.forEachPiece { unsafe all += $0 }
    pieces.clear()
    let failure = unsafe all.withUnsafeBytes { unsafe store($0, at: Int(offset)) }
    if let failure { throw failure }
  }

  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
    if let failure = unsafe store(bytes, at: Int(offset)) { throw failure }
  }

  /// Cuts or fills with zeros, durably.
  fileprivate func resize(_ byteCount: Int) {
    images.withLock { images in
      let zeros = [UInt8](repeating: 0, count: max(0, byteCount - images.cached.count))
      images.cached = images.cached.prefix(byteCount) + zeros
      images.durable = images.durable.prefix(byteCount) + zeros
      images.dirty = images.dirty.filter { $0 * Self.sectorByteCount < byteCount }
    }
  }

  private func store(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Errno? {
    var count = bytes.count
    let failure = faults.take(.write)
    if failure != nil { count = faults.below(count + 1) }
    images.withLock { images in
      guard count > 0 else { return }
      let growth = max(0, offset + count - images.cached.count)
      images.cached += repeatElement(0, count: growth)
      images.durable += repeatElement(0, count: growth)
      for sector in offset / Self.sectorByteCount...(offset + count - 1) / Self.sectorByteCount {
        if images.dirty.contains(sector), faults.chance(50) { Self.writeBack(sector, &images) }
        images.dirty.insert(sector)
      }
      unsafe images.cached.replaceSubrange(offset..<offset + count, with: bytes.prefix(count))
    }
    return failure
  }

  private static func writeBack(_ sector: Int, _ images: inout Images) {
    let start = sector * sectorByteCount
    let end = min(start + sectorByteCount, images.cached.count)
    images.durable.replaceSubrange(start..<end, with: images.cached[start..<end])
  }

  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    faults.onRead.fire()
    if let failure = faults.take(.read) { throw failure }
    if isScratch, let failure = faults.take(.scratchRead) { throw failure }
    return images.withLock { images in
      let end = min(Int(offset) + buffer.count, images.cached.count)
      guard Int(offset) < end else { return 0 }
      unsafe buffer.copyBytes(from: images.cached[Int(offset)..<end])
      faults.noteRead(end - Int(offset))
      return end - Int(offset)
    }
  }

  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Bool {
    try unsafe read(into: buffer, at: offset) == buffer.count
  }

  public func syncData() throws(Errno) {
    let failure = faults.take(.sync)
    images.withLock { images in
      if failure == nil { for sector in images.dirty { Self.writeBack(sector, &images) } }
      images.dirty.removeAll()
    }
    if let failure { throw failure }
  }

  public func forgetCached() {
    images.withLock { images in
      let cached = images.cached
      images.cached = images.durable
      for sector in images.dirty {
        let start = sector * Self.sectorByteCount
        let end = min(start + Self.sectorByteCount, cached.count)
        images.cached.replaceSubrange(start..<end, with: cached[start..<end])
      }
    }
  }

  /// As Linux: fails once for what was lost, which is not in memory any more.
  public func checkLosses() throws(Errno) {
    guard let failure = faults.take(.writeBack) else { return }
    images.withLock { images in
      images.cached = images.durable
      images.dirty.removeAll()
    }
    throw failure
  }

  func crash() {
    let likelihood = [0, 30, 80, 100][faults.below(4)]
    images.withLock { images in
      for sector in images.dirty.sorted() where faults.chance(UInt64(likelihood)) {
        Self.writeBack(sector, &images)
      }
      images.dirty.removeAll()
      images.cached = images.durable
    }
  }
}
