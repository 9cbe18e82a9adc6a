import Foundation

/// Mounts of this process and its children.
///
/// With `TAPLINE_PRIVATE_MOUNTS=1`, as in `Tools/soak`, the thread that starts the children moves
/// into a mount namespace of its own. The mounts go away with the last process in it, so nothing is
/// left behind however a test ends, the crash of the test runner included. Not otherwise: other
/// suites of the same process look into what their children mount.
enum PrivateMounts {
  /// Why this process cannot have any; nil when it can. The first question moves the thread.
  static let refusal: String? = {
    do {
      try Spawner.shared.perform {
        guard geteuid() == 0 else { throw RigError("needs root: no mounts") }
        if ProcessInfo.processInfo.environment["TAPLINE_PRIVATE_MOUNTS"] == "1" {
          guard unshareMounts() == 0,
            unsafe Glibc.mount("none", "/", nil, UInt(MS_REC | MS_PRIVATE), nil) == 0
          else { throw RigError("no mount namespace: \(message(errno))") }
        }
        guard unsafe access("/dev/loop-control", R_OK | W_OK) == 0 else {
          throw RigError("no loop devices: \(message(errno))")
        }
      }
      return nil
    } catch { return "\(error)" }
  }()

  static func mount(_ arguments: String...) throws {
    if let refusal { throw RigError(refusal) }
    try run("mount", arguments).checked()
  }

  /// The file system at `path` loses all that it has not made durable, its log included, and
  /// serves nothing any more (`FS_IOC_SHUTDOWN` without a flush of the log).
  static func shutDown(_ path: String) throws {
    let request: UInt = 0x8004_587d
    let withoutFlush: UInt32 = 2
    try Spawner.shared.perform {
      let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      defer { close(descriptor) }
      var flags = withoutFlush
      guard unsafe ioctl(descriptor, request, &flags) == 0 else {
        throw RigError("cannot shut down the file system at \(path): \(message(errno))")
      }
    }
  }

  /// `unshare(CLONE_NEWNS)`, which Swift's module of the C library does not have.
  private static func unshareMounts() -> Int32 {
    typealias Unshare = @convention(c) (Int32) -> Int32
    let newMountNamespace: Int32 = 0x0002_0000
    guard let symbol = unsafe dlsym(nil, "unshare") else { return -1 }
    return unsafe unsafeBitCast(symbol, to: Unshare.self)(newMountNamespace)
  }

  private static func message(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }
}
