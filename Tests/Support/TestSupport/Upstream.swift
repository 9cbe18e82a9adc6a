import Foundation

/// An nbdkit server that stands behind a disk, with filters that make it as bad as servers can be.
public final class Upstream {
  public let socket: String
  private let arguments: [String]
  private let scratch: ScratchDirectory
  private var process: ChildProcess?
  private var starts = 0

  /// Serves when it returns.
  /// - Parameter arguments: filters, plugin and parameters.
  public init(_ arguments: [String], in scratch: ScratchDirectory) throws {
    socket = try scratch.socket("upstream-\(UInt16.random(in: 0 ... .max)).sock")
    self.arguments = arguments
    self.scratch = scratch
    try start()
  }

  public var uri: String { "nbd+unix:///?socket=\(socket)" }
  public var isRunning: Bool { process?.isRunning == true }

  public func start() throws {
    // nbdkit leaves the socket of a server that was killed alone.
    try? FileManager.default.removeItem(atPath: socket)
    starts += 1
    let name = "\((socket as NSString).lastPathComponent)-\(starts)"
    let process = try ChildProcess(
      "nbdkit", ["-f", "-U", socket] + arguments, name: name, logs: scratch)
    self.process = process
    try eventually("nbdkit listens") {
      guard process.isRunning else { throw RigError("nbdkit ended: \(process.stderr)") }
      return FileManager.default.fileExists(atPath: socket)
    }
  }

  /// As a crash of the server.
  public func kill() throws {
    process?.kill(SIGKILL)
    try process?.wait()
  }

  public func signal(_ signal: Int32) { process?.kill(signal) }

  public func stop() throws { try process?.terminate() }

  /// Waits until the server ends by itself.
  public func waitForEnd() throws { try process?.wait() }
}
