import Foundation
import Glibc

/// A real NBD server on a unix socket, as a process of its own; killed with this object.
final class NBDServer: @unchecked Sendable {
  private let executable: String
  private let arguments: [String]
  private let folder: ScratchFolder
  private let socketPath: String
  private var process: Process?

  private init(_ executable: String, _ arguments: [String], folder: ScratchFolder) throws {
    self.executable = executable
    self.folder = folder
    socketPath = folder["\(executable)-\(UUID().uuidString.prefix(8)).sock"]
    self.arguments = arguments
    try start()
  }

  deinit { kill() }

  static func nbdkit(_ arguments: [String], in folder: ScratchFolder) throws -> NBDServer {
    try NBDServer("nbdkit", arguments, folder: folder)
  }

  static func qemuNBD(_ image: String, format: String, in folder: ScratchFolder) throws -> NBDServer
  {
    try NBDServer(
      "qemu-nbd", ["--persistent", "--shared=8", "--discard=unmap", "-f", format, image],
      folder: folder)
  }

  var uri: String { "nbd+unix:///?socket=\(socketPath)" }
  /// A rest of a URI: `SCHEME://` goes before it.
  var uriRest: String { "/?socket=\(socketPath)" }

  /// Starts the server again after `kill`, with other arguments if given. Serves when this returns.
  func start(_ replacement: [String]? = nil) throws {
    let pidFile = folder["pid-\(UUID().uuidString.prefix(8))"]
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Tools.path(executable)!)
    _ = unsafe unlink(socketPath)
    let place =
      executable == "nbdkit"
      ? ["-f", "--exit-with-parent", "-U", socketPath, "-P", pidFile]
      : ["--socket=\(socketPath)", "--pid-file=\(pidFile)"]
    process.arguments = place + (replacement ?? arguments)
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try Self.withSignalsUnblocked { try process.run() }
    self.process = process
    try waitUntil("\(executable) \(process.arguments!) serves") {
      FileManager.default.fileExists(atPath: pidFile)
    }
  }

  /// A child inherits the signals that its parent's thread blocks, and the threads on which tests
  /// run block SIGTERM.
  private static func withSignalsUnblocked(_ body: () throws -> Void) rethrows {
    var (none, before) = (sigset_t(), sigset_t())
    unsafe sigemptyset(&none)
    unsafe pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
    try body()
  }

  /// As a crash of the server.
  func kill() {
    guard let process else { return }
    Glibc.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    self.process = nil
  }

  /// Asks the server to end, so that it writes back what it holds.
  func stop() throws {
    guard let process else { return }
    let giveUp = DispatchWorkItem { Glibc.kill(process.processIdentifier, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + 10, execute: giveUp)
    Glibc.kill(process.processIdentifier, SIGTERM)
    process.waitUntilExit()
    giveUp.cancel()
    self.process = nil
    if process.terminationReason == .uncaughtSignal { throw TestFailure("\(executable) stays") }
  }
}
