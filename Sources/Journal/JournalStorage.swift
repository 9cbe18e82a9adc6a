import SystemIO

/// The folder that holds one group's journal. A simulator supplies its own.
public protocol JournalStorage: Sendable {
  associatedtype File: JournalFile

  /// Names of the files, sorted. Blocks.
  func names() throws(Errno) -> [String]
  func open(_ name: String) throws(Errno) -> File
  /// As `open`, for one that is not written through it. Blocks.
  func openToRead(_ name: String) throws(Errno) -> File
  /// A file of `byteCount` zeros, every block allocated; it and its name are durable. Blocks for as
  /// long as the disk needs to write it.
  func create(_ name: String, byteCount: Int) throws(Errno) -> File
  /// As `create`, but quickly: the blocks are only set aside, so the first sync of each part of the
  /// file takes longer. Blocks for a moment.
  func allocate(_ name: String, byteCount: Int) throws(Errno) -> File
  /// The file with nothing in it; it is created if need be. Blocks. Makes nothing durable, and a
  /// power cut leaves neither the old nor the new content for sure: for files that prove themselves
  /// by a checksum and can be made again.
  func rewrite(_ name: String) throws(Errno) -> File
  /// An empty file without a name: it ends with its last user, also by a crash. Blocks.
  func scratch() throws(Errno) -> File
  func remove(_ name: String) throws(Errno)
}

extension JournalStorage {
  public func openToRead(_ name: String) throws(Errno) -> File { try open(name) }

  /// Makes `bytes` the content of the file, as far as `rewrite` goes. Blocks.
  public func replace(_ name: String, with bytes: [UInt8]) throws(Errno) {
    let file = try rewrite(name)
    var failure: Errno?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(Errno) { try unsafe file.write(buffer, at: 0) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  public func allocate(_ name: String, byteCount: Int) throws(Errno) -> File {
    try create(name, byteCount: byteCount)
  }
}

/// A file of fixed size. Any thread may use it; calls may block.
public protocol JournalFile: AnyObject, Sendable {
  /// Writes all pieces at `offset` and clears the list.
  func write(_ pieces: inout GatherList, at offset: UInt64) throws(Errno)
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno)
  /// Returns fewer bytes than asked only at the end of the file.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(Errno) -> Int
  /// Never blocks: false, with `buffer` undefined, when the bytes are not in memory.
  func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Bool
  /// What was written before is durable when this returns.
  func syncData() throws(Errno)
  /// Throws if something that was written is lost already, once. Does not block.
  func checkLosses() throws(Errno)
  /// Reads do not come from memory any more where the disk may hold something else: after a failed
  /// sync it may for ever.
  func forgetCached()
}

extension JournalFile {
  public func checkLosses() throws(Errno) {}
  public func forgetCached() {}
}

extension File: JournalFile {
  public func write(_ pieces: inout GatherList, at offset: UInt64) throws(Errno) {
    try pieces.write(to: self, at: offset)
  }
}

/// A journal in a folder of the file system.
public struct FolderStorage: JournalStorage {
  public let path: String

  /// Creates the folder if it is missing.
  public init(path: String) throws(Errno) {
    self.path = path
    try Directory.create(path)
  }

  public init(existing path: String) { self.path = path }

  public func names() throws(Errno) -> [String] { try Directory.names(in: path) }

  public func open(_ name: String) throws(Errno) -> File {
    try File(opening: "\(path)/\(name)", .readWrite)
  }

  public func create(_ name: String, byteCount: Int) throws(Errno) -> File {
    // Written, not only allocated: the first sync of an unwritten extent waits for the file
    // system's own journal, and a guest's FLUSH must not.
    // Past the page cache where that works: the zeros are never read, and copying them would take
    // the processor from the guest.
    try make(name) { (file) throws(Errno) in
      if byteCount % 4096 != 0 || !file.setDirect(true) || !Self.fill(file, byteCount) {
        _ = file.setDirect(false)
        try Self.write(zeros: byteCount, to: file)
      }
      _ = file.setDirect(false)
    }
  }

  public func allocate(_ name: String, byteCount: Int) throws(Errno) -> File {
    do throws(Errno) {
      return try make(name) { (file) throws(Errno) in try file.allocate(byteCount: byteCount) }
    } catch .notSupported {
      return try create(name, byteCount: byteCount)
    }
  }

  /// A new file gets its name when `fill` is done with it and it is durable.
  private func make(
    _ name: String, fill: (File) throws(Errno) -> Void
  ) throws(Errno) -> File {
    let target = "\(path)/\(name)"
    let unfinished = target + ".new"
    if Directory.exists(unfinished) { try Directory.remove(unfinished) }
    let file = try File(creating: unfinished)
    var isFinished = false
    // Half a file would hold the space that its failure is about.
    defer { if !isFinished { try? Directory.remove(unfinished) } }
    try fill(file)
    try file.syncAll()
    try Directory.rename(unfinished, to: target)
    isFinished = true
    try Directory.sync(path)
    return file
  }

  /// False when it cannot be written directly.
  private static func fill(_ file: File, _ byteCount: Int) -> Bool {
    (try? write(zeros: byteCount, to: file)) != nil
  }

  private static func write(zeros byteCount: Int, to file: File) throws(Errno) {
    let zeros = PageBuffer(byteCount: min(byteCount, 1 << 20))
    var offset = 0
    while offset < byteCount {
      let count = min(zeros.count, byteCount - offset)
      try unsafe file.write(
        UnsafeRawBufferPointer(start: zeros.base, count: count), at: UInt64(offset))
      offset += count
    }
  }

  public func openToRead(_ name: String) throws(Errno) -> File {
    try File(opening: "\(path)/\(name)", .readOnly)
  }

  public func rewrite(_ name: String) throws(Errno) -> File {
    let target = "\(path)/\(name)"
    guard Directory.exists(target) else { return try File(creating: target) }
    let file = try File(opening: target, .readWrite)
    try file.truncate(to: 0)
    return file
  }

  public func scratch() throws(Errno) -> File {
    let target = "\(path)/index.scratch"
    while true {
      do throws(Errno) {
        let file = try File(creating: target)
        try removeIfThere(target)
        return file
      } catch .exists {
        // Left by a crash, or another thread's, which is about to take its name away.
        try removeIfThere(target)
      }
    }
  }

  private func removeIfThere(_ target: String) throws(Errno) {
    do throws(Errno) { try Directory.remove(target) } catch .notFound {}
  }

  public func remove(_ name: String) throws(Errno) { try Directory.remove("\(path)/\(name)") }
}
