import Foundation
import Synchronization

/// How a process ended.
public enum ExitStatus: Equatable, Sendable {
  case exited(Int32)
  case signalled(Int32)
}

/// A program started by a test: in a process group of its own, with its output in files, killed
/// with this value and with the test runner.
///
/// Its signals are unblocked and at their defaults, its PATH begins with the system's directories,
/// and a crash of a Swift program ends it at once instead of starting the backtracer.
public final class ChildProcess: Sendable {
  public let name: String
  public let pid: pid_t
  private let input: Int32?
  private let output: LogFile
  private let errors: LogFile
  private let end: ProcessEnd

  /// - Parameters:
  ///   - program: a name to look for or a path.
  ///   - logs: where to leave `NAME.out` and `NAME.err`; without it they are unnamed files.
  ///   - takesInput: whether `send` is wanted; otherwise standard input is /dev/null.
  public init(
    _ program: String, _ arguments: [String] = [], name: String? = nil,
    logs: ScratchDirectory? = nil, environment: [String: String] = [:], takesInput: Bool = false
  ) throws {
    let path = try Tool.require(program)
    self.name = name ?? (program as NSString).lastPathComponent
    output = try LogFile(logs?.file("\(self.name).out"))
    errors = try LogFile(logs?.file("\(self.name).err"))
    // The kernel kills the child when the thread that started it ends, hence the lasting thread.
    let setpriv = try Tool.require("setpriv")
    let words = [setpriv, "--pdeathsig", "KILL", "--", path] + arguments
    let variables = Self.environment(with: environment)
    let logs = [output.descriptor, errors.descriptor]
    (pid, input) = try Spawner.shared.perform {
      let pipe = takesInput ? try privatePipe() : nil
      defer { if let pipe { close(pipe.read) } }
      let pid = try spawn(
        words, environment: variables, descriptors: [pipe?.read ?? -1] + logs)
      return (pid, pipe?.write)
    }
    end = ProcessEnd(of: pid)
  }

  deinit {
    end.kill(SIGKILL)
    _ = end.wait(until: .now + .seconds(5))
    if let input { close(input) }
  }

  /// Everything written to standard output so far.
  public var stdout: String { output.contents }
  /// Everything written to standard error so far.
  public var stderr: String { errors.contents }

  public var isRunning: Bool { end.status == nil }

  /// Sends `signal` to the process group; nothing happens when the process has ended.
  public func kill(_ signal: Int32 = SIGKILL) { end.kill(signal) }

  /// Writes to standard input of a process that takes input.
  public func send(_ text: String) throws {
    guard let input else { throw RigError("\(name) takes no input") }
    let bytes = Array(text.utf8)
    guard unsafe Glibc.write(input, bytes, bytes.count) == bytes.count else {
      throw RigError("\(name) no longer reads its input")
    }
  }

  /// Waits for the end of the process. Blocks.
  /// - Throws: `RigError` after `limit`; the process goes on.
  @discardableResult
  public func wait(within limit: Duration = hangLimit) throws -> ExitStatus {
    guard let status = end.wait(until: .now + limit) else {
      throw RigError("\(name) still runs after \(limit)\n\(lastWords)")
    }
    return status
  }

  /// Sends SIGTERM to the process alone, not to its group, and waits for the end.
  @discardableResult
  public func terminate(within limit: Duration = hangLimit) throws -> ExitStatus {
    end.kill(SIGTERM, group: false)
    return try wait(within: limit)
  }

  /// Waits until a line of standard output contains `text`, and returns that line.
  /// - Throws: `RigError` after `limit`, or when the process ends without it.
  @discardableResult
  public func waitForLine(_ text: String, within limit: Duration = hangLimit) throws -> String {
    var found: String?
    try eventually("'\(text)' from \(name)", within: limit) {
      let ended = !isRunning
      found = output.completeLines.first { $0.contains(text) }.map(String.init)
      if found == nil, ended {
        throw RigError("\(name) ended (\(end.status!)) before '\(text)'\n\(lastWords)")
      }
      return found != nil
    }
    return found!
  }

  private var lastWords: String {
    "stdout: \(stdout.suffix(2000))\nstderr: \(stderr.suffix(4000))"
  }

  private static func environment(with additions: [String: String]) -> [String] {
    var variables = ProcessInfo.processInfo.environment
    variables["PATH"] = Tool.searchPath.joined(separator: ":")
    variables["SWIFT_BACKTRACE"] = "enable=no"
    variables["LC_ALL"] = "C.UTF-8"
    variables.merge(additions) { $1 }
    return variables.map { "\($0)=\($1)" }
  }
}

/// A file that a child writes and a test reads.
private final class LogFile: Sendable {
  let descriptor: Int32

  init(_ path: String?) throws {
    if let path {
      descriptor = unsafe open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    } else {
      let unnamed = "/tmp/tapline-log-\(UInt64.random(in: 0 ... .max))"
      descriptor = unsafe open(unnamed, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o600)
      unsafe unlink(unnamed)
    }
    guard descriptor >= 0 else { throw RigError("cannot create \(path ?? "a log"): \(errno)") }
  }

  deinit { close(descriptor) }

  var contents: String {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, status.st_size > 0 else { return "" }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    let count = unsafe pread(descriptor, &bytes, bytes.count, 0)
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  }

  var completeLines: [Substring] {
    // A carriage return before the line feed makes one Character of both.
    var lines = contents.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    lines.removeLast()
    return lines
  }
}
