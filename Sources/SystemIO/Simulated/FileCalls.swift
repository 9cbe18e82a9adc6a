import CLinux
import Glibc

extension SystemCalls {
  private static var machine: Machine { simulation.process.machine }

  static func open(_ path: String, _ flags: Int32, _ permissions: mode_t = 0) -> Int32 {
    simulation.pass()
    let machine = machine
    if let code = machine.fileFaults.refusal(path, isNew: flags & O_CREAT != 0, machine) {
      return fail(code)
    }
    if flags & O_CREAT != 0 {
      if machine.files.exists(path) { return fail(EEXIST) }
      guard machine.files.isFolder(FileTree.folder(of: path)) else { return fail(ENOENT) }
      let inode = machine.files.create(path)
      return simulation.process.install(OpenFile(path, inode, isReadOnly: false))
    }
    if machine.files.isFolder(path) {
      return simulation.process.install(OpenFile(path, nil, isReadOnly: true))
    }
    guard let inode = machine.files.inode(path) else { return fail(ENOENT) }
    return simulation.process.install(
      OpenFile(path, inode, isReadOnly: flags & O_ACCMODE == O_RDONLY))
  }

  /// The file, unless the call is to fail.
  private static func file(
    _ descriptor: Int32, error: ((DiskFaults) -> Double)? = nil
  ) -> (OpenFile, Inode)? {
    guard let file = object(descriptor, OpenFile.self), let inode = file.inode else {
      errno = EBADF
      return nil
    }
    let faults = machine.faults
    if let error, faults.applies(file.path), simulation.random.chance(error(faults)) {
      simulation.trace("\(machine.name): input/output error on \(file.path)")
      errno = EIO
      return nil
    }
    return (file, inode)
  }

  static func seek(_ descriptor: Int32, _ offset: off_t, _ whence: Int32) -> off_t {
    guard let (_, inode) = file(descriptor) else { return -1 }
    switch whence {
    case SEEK_END: return off_t(inode.byteCount)
    case Int32(LINUX_SEEK_DATA):
      guard let next = inode.next(data: true, from: UInt64(offset)) else { return fail(ENXIO) }
      return off_t(next)
    default:
      guard UInt64(offset) < inode.byteCount else { return fail(ENXIO) }
      return off_t(inode.next(data: false, from: UInt64(offset)) ?? inode.byteCount)
    }
  }

  static func status(_ descriptor: Int32, _ status: inout stat) -> Int32 {
    guard let file = object(descriptor, OpenFile.self) else { return fail(EBADF) }
    status.st_mode = file.inode == nil ? S_IFDIR : S_IFREG
    status.st_size = off_t(file.inode?.byteCount ?? 0)
    return 0
  }

  static func truncate(_ descriptor: Int32, _ byteCount: off_t) -> Int32 {
    guard let (_, inode) = file(descriptor, error: \.writeError) else { return -1 }
    inode.truncate(UInt64(byteCount))
    return 0
  }

  static func read(
    _ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer, _ offset: off_t
  ) -> Int {
    simulation.pass()
    guard let (file, inode) = file(descriptor, error: \.readError) else { return -1 }
    if let code = machine.fileFaults.readFailure(file.path, machine) { return fail(code) }
    machine.onRead?(file.path, UInt64(offset), buffer.count)
    return unsafe inode.read(into: buffer, at: UInt64(offset))
  }

  static func readCached(
    _ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer, _ offset: off_t
  ) -> Int {
    guard let (_, inode) = file(descriptor, error: \.readError) else { return -1 }
    if simulation.random.chance(machine.faults.cacheMiss) { return fail(EAGAIN) }
    return unsafe inode.read(into: buffer, at: UInt64(offset))
  }

  static func write(
    _ descriptor: Int32, _ buffer: UnsafeRawBufferPointer, _ offset: off_t
  ) -> Int {
    simulation.pass()
    guard let (file, inode) = file(descriptor, error: \.writeError) else { return -1 }
    if file.isReadOnly { return fail(EBADF) }
    let machine = machine
    if let code = machine.fileFaults.writeFailure(file.path, machine) { return fail(code) }
    guard hasSpace(inode.missingBytes(UInt64(offset), buffer.count)) else {
      return fail(ENOSPC)
    }
    var count = buffer.count
    // As Linux does, at the end of some page.
    let pages = (Int(offset) + count - 1) / Inode.pageBytes - Int(offset) / Inode.pageBytes
    if pages > 0, simulation.random.chance(machine.faults.shortWrite) {
      let whole = 1 + simulation.random.below(pages)
      count = whole * Inode.pageBytes - Int(offset) % Inode.pageBytes
    }
    let part = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<count])
    unsafe inode.write(part, at: UInt64(offset))
    if simulation.random.chance(machine.faults.writeBack) {
      let delay = UInt64(simulation.random.below(300_000_000))
      simulation.at(simulation.now + delay) { writeBack(inode.snapshot(), of: file, on: machine) }
    }
    if let onWrite = machine.onWrite {
      onWrite(file.path, UInt64(offset), unsafe Array(part))
    }
    return count
  }

  static func write(
    _ descriptor: Int32, _ vectors: UnsafeBufferPointer<iovec>, _ offset: off_t
  ) -> Int {
    var bytes: [UInt8] = []
    for index in vectors.indices {
      let vector = unsafe vectors[index]
      unsafe bytes.append(
        contentsOf: UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len))
    }
    return unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0, offset) }
  }

  private static func hasSpace(_ missing: Int) -> Bool {
    let limit = machine.faults.capacityBytes
    return limit == .max || missing == 0 || machine.files.allocatedBytes + missing <= limit
  }

  static func syncData(_ descriptor: Int32) -> Int32 {
    guard let file = object(descriptor, OpenFile.self) else { return fail(EBADF) }
    return Mutant.skipsDataSync(of: file) ? 0 : sync(file)
  }

  static func syncAll(_ descriptor: Int32) -> Int32 {
    guard let file = object(descriptor, OpenFile.self) else { return fail(EBADF) }
    return Mutant.skipsWholeSync(of: file) ? 0 : sync(file)
  }

  private static func sync(_ file: OpenFile) -> Int32 {
    guard let inode = file.inode else {
      simulation.pass()
      machine.files.sync(file.path)
      return 0
    }
    let machine = machine
    let snapshot = inode.snapshot()
    // Pages that are being written out are waited for, and what becomes of them is this sync's too.
    let end = max(simulation.now + duration(of: file, on: machine), inode.writeOutEnd)
    simulation.sleep(nanoseconds: end - simulation.now)
    writeBack(snapshot, of: file, on: machine)
    guard file.hearsOfLoss() else { return 0 }
    simulation.trace("\(machine.name): a sync of \(file.path) tells of a loss")
    return fail(EIO)
  }

  private static func duration(of file: OpenFile, on machine: Machine) -> UInt64 {
    let faults = machine.faults
    let range = (faults.isQuick(file.path) ? DiskFaults() : faults).syncNanoseconds
    return range.lowerBound
      + UInt64(simulation.random.below(Int(range.upperBound - range.lowerBound) + 1))
  }

  private static func writeBack(
    _ snapshot: Inode.Snapshot, of file: OpenFile, on machine: Machine
  ) {
    guard let inode = file.inode else { return }
    guard machine.faults.applies(file.path), simulation.random.chance(machine.faults.syncError)
    else { return inode.complete(snapshot) }
    simulation.trace("\(machine.name): writing \(file.path) back fails")
    // A segment's pages were written a moment ago and stay; the next sync, of which a journal has
    // many, tells.
    let forgets = machine.forgetsLost && !file.path.contains("/segment-")
    inode.fail(snapshot, forgets: forgets, &simulation.random)
    machine.onSyncError?(file.path)
  }

  static func syncRange(_ descriptor: Int32, _ offset: off_t, _ flags: UInt32) -> Int32 {
    simulation.pass()
    guard let (file, inode) = file(descriptor) else { return -1 }
    if flags & UInt32(LINUX_SYNC_WAIT_BEFORE) != 0 {
      if UInt64(offset) < inode.byteCount, simulation.now < inode.writeOutEnd {
        simulation.sleep(nanoseconds: inode.writeOutEnd - simulation.now)
      }
      if file.hearsOfLoss() { return fail(EIO) }
    }
    guard flags & UInt32(LINUX_SYNC_WRITE) != 0 else { return 0 }
    let machine = machine
    let snapshot = inode.snapshot()
    if snapshot.isEmpty { return 0 }
    let end = simulation.now + duration(of: file, on: machine)
    inode.writeOutEnd = max(inode.writeOutEnd, end)
    simulation.at(end) { writeBack(snapshot, of: file, on: machine) }
    return 0
  }

  static func allocate(
    _ descriptor: Int32, _ mode: Int32, _ offset: off_t, _ count: off_t
  ) -> Int32 {
    simulation.pass()
    guard let (_, inode) = file(descriptor, error: \.writeError) else { return -1 }
    if mode == 0 {
      guard hasSpace(inode.missingBytes(UInt64(offset), Int(count))) else { return fail(ENOSPC) }
      inode.allocate(UInt64(offset + count))
    } else {
      let isHole = mode & Int32(LINUX_FALLOC_PUNCH_HOLE) != 0
      if !isHole, !hasSpace(inode.missingBytes(UInt64(offset), Int(count))) { return fail(ENOSPC) }
      inode.zero(UInt64(offset), UInt64(count), asHole: isHole)
    }
    return 0
  }

  static func willNeed(_ descriptor: Int32, _ offset: off_t, _ count: off_t) {}

  static func forgetCached(_ descriptor: Int32) {
    file(descriptor)?.1.forgetCached()
  }

  static func isRemote(_ descriptor: Int32) -> Bool { false }

  static func lock(_ descriptor: Int32) -> Int32 {
    guard let (file, inode) = file(descriptor) else { return -1 }
    if let holder = inode.lock, holder !== file { return fail(EWOULDBLOCK) }
    inode.lock = file
    return 0
  }

  static func unlock(_ descriptor: Int32) {
    guard let (file, inode) = file(descriptor), inode.lock === file else { return }
    inode.lock = nil
    Simulation.running.noteChange()
  }

  // MARK: Names

  static func makeFolder(_ path: String) -> Int32 {
    if machine.files.exists(path) { return fail(EEXIST) }
    guard machine.files.isFolder(FileTree.folder(of: path)) else { return fail(ENOENT) }
    machine.files.makeFolder(path)
    return 0
  }

  static func remove(_ path: String) -> Int32 {
    simulation.pass()
    if simulation.network.socketFiles.removeValue(forKey: path) != nil { return 0 }
    guard machine.files.inode(path) != nil else { return fail(ENOENT) }
    machine.files.remove(path)
    return 0
  }

  static func removeFolder(_ path: String) -> Int32 {
    simulation.pass()
    guard machine.files.isFolder(path) else { return fail(ENOENT) }
    guard machine.files.names(in: path).isEmpty else { return fail(ENOTEMPTY) }
    machine.files.removeFolder(path)
    return 0
  }

  static func rename(_ from: String, _ to: String) -> Int32 {
    simulation.pass()
    guard machine.files.inode(from) != nil else { return fail(ENOENT) }
    machine.files.rename(from, to)
    return 0
  }

  static func exists(_ path: String) -> Bool {
    machine.files.exists(path) || simulation.network.socketFiles[path] != nil
  }

  static func names(_ path: String) -> [String]? {
    simulation.pass()
    guard machine.files.isFolder(path) else {
      errno = ENOENT
      return nil
    }
    return machine.files.names(in: path)
  }
}
