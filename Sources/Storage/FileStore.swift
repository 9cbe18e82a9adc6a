import BlockModel
import Synchronization
import SystemIO

/// A raw file or a block device of this machine, through the page cache.
public final class FileStore: BackingStore {
  public let description: String
  public let isBlockDevice: Bool
  /// Behind it is another machine, or a process.
  let isRemote: Bool
  let file: File
  private let size: Atomic<UInt64>
  /// The system tells a lost write once, to whichever call asks first. What another call than
  /// `sync` was told is owed to the next `sync`. Held while the system is asked.
  private let owed = Mutex<Errno?>(nil)

  /// Block devices zero only whole logical blocks; none in use is larger.
  private static let deviceBlockBytes: UInt64 = 4096

  init(_ file: File, byteCount: UInt64, isBlockDevice: Bool) {
    self.file = file
    size = Atomic(byteCount)
    self.isBlockDevice = isBlockDevice
    isRemote = file.isRemote
    description = file.path
  }

  public var byteCount: UInt64 { size.load(ordering: .acquiring) }

  /// See `DiskStore.adopt`.
  func adopt(byteCount: UInt64) { size.store(byteCount, ordering: .releasing) }

  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) {
    try checked(.read, offset, UInt64(buffer.count))
    let count: Int
    do throws(Errno) {
      count = try unsafe file.read(into: buffer, at: offset)
    } catch {
      throw StorageError(request(.read, offset, UInt64(buffer.count)), error)
    }
    if count < buffer.count { throw .endsEarly(request(.read, offset, UInt64(buffer.count))) }
  }

  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool {
    try checked(.read, offset, UInt64(buffer.count))
    do throws(Errno) {
      return try unsafe file.readIfCached(into: buffer, at: offset)
    } catch {
      throw StorageError(request(.read, offset, UInt64(buffer.count)), error)
    }
  }

  public func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
    try checked(.write, offset, UInt64(buffer.count))
    do throws(Errno) {
      try unsafe file.write(buffer, at: offset)
    } catch {
      throw StorageError(request(.write, offset, UInt64(buffer.count)), error)
    }
  }

  public func write(gathering list: inout GatherList, at offset: UInt64) throws(StorageError) {
    defer { list.clear() }
    let count = UInt64(list.byteCount)
    try checked(.write, offset, count)
    do throws(Errno) {
      try list.write(to: file, at: offset)
    } catch {
      throw StorageError(request(.write, offset, count), error)
    }
  }

  public func sync() throws(StorageError) {
    do throws(Errno) {
      try owed.withLock { owed throws(Errno) in
        // Also when it is clear already that it fails: what is told now is not told again.
        defer { owed = nil }
        try file.syncData()
        if let owed { throw owed }
      }
    } catch {
      throw StorageError(request(.sync), error)
    }
  }

  public func writeOut() throws(StorageError) {
    #if MUTANTS
      if Mutant.swallowWriteOut.isOn {
        try? file.writeOut()
        return
      }
    #endif
    do throws(Errno) { try file.writeOut() } catch { throw StorageError(request(.sync), error) }
  }

  public func forgetCached() {
    // What is lost by now, and not in memory any more, the next sync tells.
    do throws(Errno) { try owing { () throws(Errno) in try file.checkLosses() } } catch {}
    file.dropCached()
  }

  /// Runs what may be told of lost writes, and does not answer for them.
  func owing<Result>(_ body: () throws(Errno) -> Result) throws(Errno) -> Result {
    try owed.withLock { owed throws(Errno) in
      do throws(Errno) { return try body() } catch {
        owed = error
        throw error
      }
    }
  }

  // MARK: Zeros

  public func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(StorageError) {
    try checked(.zero, range.start, range.length)
    do throws(Errno) {
      let block = isBlockDevice ? Self.deviceBlockBytes : 1
      let parts = AlignedParts(of: range, block: block)
      try writeZeros(parts.head)
      try zeroWhole(parts.middle, mayFreeSpace: mayFreeSpace)
      try writeZeros(parts.tail)
    } catch {
      throw StorageError(request(.zero, range.start, range.length), error)
    }
  }

  /// The cheapest way that the file system or device offers.
  private func zeroWhole(_ range: ByteRange, mayFreeSpace: Bool) throws(Errno) {
    if range.isEmpty { return }
    if mayFreeSpace {
      do {
        return try file.punchHole(at: range.start, count: range.length)
      } catch { if !Self.meansUnavailable(error) { throw error } }
      if tellsHoles { return try clearData(in: range) }
    }
    do {
      return try file.zeroRange(at: range.start, count: range.length)
    } catch { if !Self.meansUnavailable(error) { throw error } }
    try writeZeros(range)
  }

  /// Where no hole can be made, those that are there must not be filled: that may need space which
  /// nobody has.
  private func clearData(in range: ByteRange) throws(Errno) {
    var position = range.start
    while let data = try dataRange(from: position, limit: range.end) {
      try writeZeros(data)
      position = data.end
    }
  }

  private func writeZeros(_ range: ByteRange) throws(Errno) {
    var position = range.start
    while position < range.end {
      let count = min(UInt64(ZeroBytes.count), range.end - position)
      try unsafe file.write(ZeroBytes.first(Int(count)), at: position)
      position += count
    }
  }

  /// True for the answers of file systems and devices that lack the operation; EBUSY comes from
  /// devices whose cached pages cannot be dropped now. Writing zeros works in all these cases.
  private static func meansUnavailable(_ error: Errno) -> Bool {
    [.notSupported, .noSystemCall, .invalid, .notPermitted, .busy].contains(error)
  }

  // MARK: Data

  public func prefetch(_ range: ByteRange) { file.prefetch(at: range.start, count: range.length) }

  /// A block device gives no holes away.
  public var tellsHoles: Bool { !isBlockDevice }

  public func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange? {
    guard offset < limit else { return nil }
    try checked(.findData, offset, limit - offset)
    do throws(Errno) { return try dataRange(from: offset, limit: limit) } catch {
      throw StorageError(request(.findData, offset, limit - offset), error)
    }
  }

  private func dataRange(from offset: UInt64, limit: UInt64) throws(Errno) -> ByteRange? {
    guard offset < limit else { return nil }
    do throws(Errno) {
      guard let start = try file.nextData(from: offset), start < limit else { return nil }
      let end = try file.nextHole(from: start)
      return ByteRange(start: start, end: min(max(end, start + 1), limit))
    } catch .invalid {
      // The file system cannot tell data from holes.
      return ByteRange(start: offset, end: limit)
    }
  }
}
