import CLinux
import Glibc

/// The one funnel: every system call that a site makes while it serves is made here, in the files
/// beside this one, or by a library (libnbd, OpenSSL). So these files are all that the simulator
/// replaces. The exceptions, which no simulated site meets, are listed in `SystemCallTests`, which
/// looks for others in what the compiler made. Results are the kernel's: -1 and `errno` for a
/// failure; see `retrying`.
enum SystemCalls {
  // MARK: Descriptors

  @inline(__always)
  static func open(_ path: String, _ flags: Int32, _ permissions: mode_t = 0) -> Int32 {
    unsafe Glibc.open(path, flags, permissions)
  }

  @inline(__always)
  static func close(_ descriptor: Int32) -> Int32 { Glibc.close(descriptor) }

  @inline(__always)
  static func flags(_ descriptor: Int32) -> Int32 { fcntl(descriptor, F_GETFL) }

  @inline(__always)
  static func setFlags(_ descriptor: Int32, _ flags: Int32) -> Int32 {
    fcntl(descriptor, F_SETFL, flags)
  }

  @inline(__always)
  static func poll(_ entries: inout [pollfd], _ timeoutMilliseconds: Int32) -> Int32 {
    unsafe Glibc.poll(&entries, nfds_t(entries.count), timeoutMilliseconds)
  }

  // MARK: Files

  @inline(__always)
  static func seek(_ descriptor: Int32, _ offset: off_t, _ whence: Int32) -> off_t {
    lseek(descriptor, offset, whence)
  }

  @inline(__always)
  static func status(_ descriptor: Int32, _ status: inout stat) -> Int32 {
    unsafe fstat(descriptor, &status)
  }

  /// By the numbers of statfs(2): NFS, SMB (3), FUSE, 9P, Ceph, AFS, OCFS2, GFS2, Lustre.
  private static let remoteFileSystems: Set<UInt32> = [
    0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997, 0x00C3_6400, 0x5346_414F,
    0x7461_636F, 0x0116_1970, 0x0BD0_0BD0,
  ]

  static func isRemote(_ descriptor: Int32) -> Bool {
    var facts = statfs()
    guard unsafe fstatfs(descriptor, &facts) == 0 else { return false }
    return remoteFileSystems.contains(UInt32(truncatingIfNeeded: facts.f_type))
  }

  @inline(__always)
  static func truncate(_ descriptor: Int32, _ byteCount: off_t) -> Int32 {
    ftruncate(descriptor, byteCount)
  }

  @inline(__always)
  static func read(
    _ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer, _ offset: off_t
  ) -> Int {
    unsafe pread(descriptor, buffer.baseAddress, buffer.count, offset)
  }

  /// Fails with EAGAIN when the bytes are not in memory, or returns those that are.
  @inline(__always)
  static func readCached(
    _ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer, _ offset: off_t
  ) -> Int {
    var vector = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    return unsafe preadv2(descriptor, &vector, 1, offset, Int32(LINUX_RWF_NOWAIT))
  }

  @inline(__always)
  static func write(
    _ descriptor: Int32, _ buffer: UnsafeRawBufferPointer, _ offset: off_t
  ) -> Int {
    unsafe pwrite(descriptor, buffer.baseAddress, buffer.count, offset)
  }

  @inline(__always)
  static func write(
    _ descriptor: Int32, _ vectors: UnsafeBufferPointer<iovec>, _ offset: off_t
  ) -> Int {
    unsafe pwritev(descriptor, vectors.baseAddress, Int32(vectors.count), offset)
  }

  @inline(__always)
  static func syncData(_ descriptor: Int32) -> Int32 { fdatasync(descriptor) }

  @inline(__always)
  static func syncAll(_ descriptor: Int32) -> Int32 { fsync(descriptor) }

  @inline(__always)
  static func syncRange(_ descriptor: Int32, _ offset: off_t, _ flags: UInt32) -> Int32 {
    sync_file_range(descriptor, offset, 0, flags)
  }

  @inline(__always)
  static func allocate(
    _ descriptor: Int32, _ mode: Int32, _ offset: off_t, _ count: off_t
  ) -> Int32 {
    fallocate(descriptor, mode, offset, count)
  }

  @inline(__always)
  static func willNeed(_ descriptor: Int32, _ offset: off_t, _ count: off_t) {
    _ = posix_fadvise(descriptor, offset, count, Int32(POSIX_FADV_WILLNEED))
  }

  @inline(__always)
  static func forgetCached(_ descriptor: Int32) {
    _ = posix_fadvise(descriptor, 0, 0, Int32(POSIX_FADV_DONTNEED))
  }

  @inline(__always)
  static func lock(_ descriptor: Int32) -> Int32 { flock(descriptor, LOCK_EX | LOCK_NB) }
  static func unlock(_ descriptor: Int32) { flock(descriptor, LOCK_UN) }

  // MARK: Names

  static func makeFolder(_ path: String) -> Int32 { unsafe mkdir(path, 0o700) }
  static func remove(_ path: String) -> Int32 { unsafe unlink(path) }
  static func removeFolder(_ path: String) -> Int32 { unsafe rmdir(path) }
  static func rename(_ from: String, _ to: String) -> Int32 { unsafe Glibc.rename(from, to) }
  /// Fails with EEXIST when `to` exists, and with EINVAL when the file system cannot tell.
  static func renameAnew(_ from: String, _ to: String) -> Int32 {
    unsafe renameat2(AT_FDCWD, from, AT_FDCWD, to, UInt32(LINUX_RENAME_NOREPLACE))
  }
  /// Of a link itself, not of what it leads to.
  static func linkStatus(_ path: String, _ status: inout stat) -> Int32 {
    unsafe lstat(path, &status)
  }
  static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

  /// All names in a folder; nil, with `errno`, when it cannot be read.
  static func names(_ path: String) -> [String]? {
    guard let stream = unsafe opendir(path) else { return nil }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      names.append(
        unsafe withUnsafePointer(to: &entry.pointee.d_name) {
          unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) {
            unsafe String(cString: $0)
          }
        })
    }
    return names
  }

  // MARK: Sockets

  static func socket(_ family: Int32, _ type: Int32) -> Int32 { Glibc.socket(family, type, 0) }

  static func bind(
    _ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ length: socklen_t
  ) -> Int32 {
    unsafe Glibc.bind(descriptor, address, length)
  }

  static func listen(_ descriptor: Int32, _ backlog: Int32) -> Int32 {
    Glibc.listen(descriptor, backlog)
  }

  static func connect(
    _ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ length: socklen_t
  ) -> Int32 {
    unsafe Glibc.connect(descriptor, address, length)
  }

  static func accept(_ descriptor: Int32, _ flags: Int32) -> Int32 {
    accept4(descriptor, nil, nil, flags)
  }

  @discardableResult
  static func setOption(
    _ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeRawBufferPointer
  ) -> Int32 {
    unsafe setsockopt(descriptor, level, name, value.baseAddress, socklen_t(value.count))
  }

  static func option(
    _ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeMutableRawBufferPointer
  ) -> Int32 {
    var length = socklen_t(value.count)
    return unsafe getsockopt(descriptor, level, name, value.baseAddress, &length)
  }

  static func name(_ descriptor: Int32, _ address: inout sockaddr_storage) -> Int32 {
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(descriptor, $0, &length)
      }
    }
  }

  @inline(__always)
  static func receive(_ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Int {
    unsafe recv(descriptor, buffer.baseAddress, buffer.count, 0)
  }

  @inline(__always)
  static func send(
    _ descriptor: Int32, _ buffer: UnsafeRawBufferPointer, _ flags: Int32
  ) -> Int {
    unsafe Glibc.send(descriptor, buffer.baseAddress, buffer.count, flags)
  }

  @inline(__always)
  static func sendFile(
    _ descriptor: Int32, _ file: Int32, _ offset: off_t, _ count: Int
  ) -> Int {
    var position = offset
    return unsafe sendfile(descriptor, file, &position, count)
  }

  static func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }

  static func shutDown(_ descriptor: Int32) -> Int32 {
    shutdown(descriptor, Int32(SHUT_RDWR))
  }

  // MARK: Events

  static func makePoller() -> Int32 { epoll_create1(Int32(EPOLL_CLOEXEC)) }

  static func control(
    _ poller: Int32, _ operation: Int32, _ descriptor: Int32, _ event: inout epoll_event
  ) -> Int32 {
    unsafe epoll_ctl(poller, operation, descriptor, &event)
  }

  @inline(__always)
  static func wait(
    _ poller: Int32, _ events: UnsafeMutableBufferPointer<epoll_event>,
    _ timeoutMilliseconds: Int32
  ) -> Int32 {
    unsafe epoll_wait(
      poller, events.baseAddress.unsafelyUnwrapped, Int32(events.count), timeoutMilliseconds)
  }

  static func makeEvent() -> Int32 { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) }

  @inline(__always)
  static func signalEvent(_ descriptor: Int32) {
    var one: UInt64 = 1
    _ = unsafe Glibc.write(descriptor, &one, 8)
  }

  @inline(__always)
  static func clearEvent(_ descriptor: Int32) {
    var count: UInt64 = 0
    _ = unsafe Glibc.read(descriptor, &count, 8)
  }

  // MARK: Time, and what else a process asks

  @inline(__always)
  static func nanoseconds(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(clock, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  static func bootIdentifier() -> UInt64 {
    let path = "/proc/sys/kernel/random/boot_id"
    var text = [UInt8](repeating: 0, count: 36)
    guard let file = try? File(opening: path, .readOnly),
      let count = unsafe text.withUnsafeMutableBytes({ unsafe try? file.read(into: $0, at: 0) }),
      count == text.count
    else { return 0 }
    return text.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  static func processIdentifier() -> Int32 { getpid() }

  static func processorCount() -> Int { sysconf(Int32(_SC_NPROCESSORS_ONLN)) }

  static func entropy() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    return generator.next()
  }
}
