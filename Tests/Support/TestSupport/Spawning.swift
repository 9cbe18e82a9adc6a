import Foundation
import Synchronization

/// A thread that lasts as long as the process and starts its children.
final class Spawner: Sendable {
  static let shared = Spawner()

  private typealias Job = @Sendable () -> Void
  private let jobs = Mutex<[Job]>([])
  private let wake = DispatchSemaphore(value: 0)

  private init() {
    let thread = Thread {
      while true {
        self.wake.wait()
        let job = self.jobs.withLock { $0.removeFirst() }
        job()
      }
    }
    thread.name = "spawner"
    thread.start()
  }

  func perform<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
    let done = DispatchSemaphore(value: 0)
    let result = Mutex<Result<Value, any Error>?>(nil)
    jobs.withLock {
      $0.append {
        let outcome = Result { try body() }
        result.withLock { $0 = outcome }
        done.signal()
      }
    }
    wake.signal()
    done.wait()
    return try result.withLock { $0! }.get()
  }
}

/// A pipe that children do not inherit. Called on the spawner's thread, so that none is started
/// between making the pipe and marking it.
func privatePipe() throws -> (read: Int32, write: Int32) {
  var ends: [Int32] = [-1, -1]
  guard unsafe pipe(&ends) == 0 else { throw RigError("pipe: \(errno)") }
  for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  return (ends[0], ends[1])
}

/// Marks every descriptor but the standard ones close-on-exec, whoever opened it: a socket that
/// lived on in a child would hide that its owner closed it.
private func keepDescriptorsFromChildren() {
  let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
  for descriptor in names.compactMap(Int32.init) where descriptor > 2 {
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
  }
}

/// Starts a program in a process group of its own with the three standard descriptors given
/// (−1 stands for /dev/null) and no others.
func spawn(_ words: [String], environment: [String], descriptors: [Int32]) throws -> pid_t {
  keepDescriptorsFromChildren()
  var actions = unsafe posix_spawn_file_actions_t()
  var attributes = posix_spawnattr_t()
  unsafe posix_spawn_file_actions_init(&actions)
  unsafe posix_spawnattr_init(&attributes)
  defer {
    unsafe posix_spawn_file_actions_destroy(&actions)
    unsafe posix_spawnattr_destroy(&attributes)
  }
  for (target, descriptor) in descriptors.enumerated() {
    if descriptor < 0 {
      unsafe posix_spawn_file_actions_addopen(&actions, Int32(target), "/dev/null", O_RDWR, 0)
    } else {
      unsafe posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(target))
    }
  }

  var none = sigset_t()
  var all = sigset_t()
  unsafe sigemptyset(&none)
  unsafe sigfillset(&all)
  unsafe posix_spawnattr_setsigmask(&attributes, &none)
  unsafe posix_spawnattr_setsigdefault(&attributes, &all)
  unsafe posix_spawnattr_setpgroup(&attributes, 0)
  unsafe posix_spawnattr_setflags(
    &attributes,
    Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

  var argv: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) } + [nil]
  var envp: [UnsafeMutablePointer<CChar>?] = unsafe environment.map { unsafe strdup($0) } + [nil]
  defer {
    unsafe (argv + envp).forEach { unsafe free($0) }
  }
  var pid: pid_t = 0
  let error = unsafe posix_spawn(&pid, words[0], &actions, &attributes, &argv, &envp)
  guard error == 0 else { throw RigError("\(words): \(unsafe String(cString: strerror(error)))") }
  return pid
}

/// Waits for a child on a thread of its own, so that anyone can wait for it with a bound.
final class ProcessEnd: Sendable {
  private let pid: pid_t
  private let shared = Shared()

  private final class Shared: @unchecked Sendable {
    let condition = NSCondition()
    var status: ExitStatus?  // guarded by `condition`
  }

  init(of pid: pid_t) {
    self.pid = pid
    let shared = self.shared
    let thread = Thread {
      // The zombie stays until the lock is held, so that `kill` never meets a recycled number.
      var information = unsafe siginfo_t()
      while unsafe waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
      shared.condition.lock()
      var raw: Int32 = 0
      while unsafe waitpid(pid, &raw, 0) < 0, errno == EINTR {}
      shared.status = raw & 0x7f == 0 ? .exited(raw >> 8 & 0xff) : .signalled(raw & 0x7f)
      shared.condition.broadcast()
      shared.condition.unlock()
    }
    thread.start()
  }

  var status: ExitStatus? {
    shared.condition.lock()
    defer { shared.condition.unlock() }
    return shared.status
  }

  func kill(_ signal: Int32, group: Bool = true) {
    shared.condition.lock()
    defer { shared.condition.unlock() }
    if shared.status == nil { Glibc.kill(group ? -pid : pid, signal) }
  }

  func wait(until deadline: ContinuousClock.Instant) -> ExitStatus? {
    let date = Date(timeIntervalSinceNow: (deadline - .now).inSeconds)
    shared.condition.lock()
    defer { shared.condition.unlock() }
    while shared.status == nil, shared.condition.wait(until: date) {}
    return shared.status
  }
}
