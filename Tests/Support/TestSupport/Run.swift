/// What a program that has ended wrote, and its exit code (128 + signal when it was killed).
public struct Finished: Sendable, CustomStringConvertible {
  public let command: String
  public let status: Int32
  public let stdout: String
  public let stderr: String

  public init(command: String, status: Int32, stdout: String, stderr: String) {
    self.command = command
    self.status = status
    self.stdout = stdout
    self.stderr = stderr
  }

  public var description: String {
    "\(command): exit \(status)\nstdout: \(stdout.suffix(2000))\nstderr: \(stderr.suffix(4000))"
  }

  /// - Throws: `RigError` with the output unless the exit code is one of `accepted`.
  @discardableResult
  public func checked(_ accepted: Int32...) throws -> Finished {
    guard accepted.isEmpty ? status == 0 : accepted.contains(status) else {
      throw RigError(description)
    }
    return self
  }
}

/// Runs a program to its end. Blocks.
/// - Throws: `RigError` when it is not there or has not ended after `limit`; it is killed then.
@discardableResult
public func run(
  _ program: String, _ arguments: [String], within limit: Duration = hangLimit,
  environment: [String: String] = [:]
) throws -> Finished {
  let child = try ChildProcess(program, arguments, environment: environment)
  let end = try child.wait(within: limit)
  let status: Int32 =
    switch end {
    case .exited(let code): code
    case .signalled(let signal): 128 + signal
    }
  return Finished(
    command: ([program] + arguments).joined(separator: " "), status: status,
    stdout: child.stdout, stderr: child.stderr)
}
