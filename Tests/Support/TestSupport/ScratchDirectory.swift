import Foundation
import Synchronization
import Testing

/// A directory of its own for a test, with a path short enough for unix sockets in it.
///
/// It goes away with the value. It is kept, and its path printed, when `TAPLINE_KEEP=1` is set, or
/// when the test failed and has the trait `.scratch`.
public final class ScratchDirectory: Sendable {
  public let path: String
  private let scope: ScratchScope?

  public init() throws {
    var template = Array("\(Self.parent)/tapline-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else {
      throw RigError("mkdtemp in \(Self.parent): \(unsafe String(cString: strerror(errno)))")
    }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    scope = ScratchScope.current
  }

  deinit {
    if let scope { scope.leave(path) } else { Self.dispose(of: path, failed: false) }
  }

  /// `path/name`.
  public func file(_ name: String) -> String { "\(path)/\(name)" }

  /// `path/name` for a unix socket.
  /// - Throws: `RigError` when it is longer than `sockaddr_un` takes.
  public func socket(_ name: String) throws -> String {
    let socket = file(name)
    guard socket.utf8.count <= 107 else { throw RigError("too long for a socket: \(socket)") }
    return socket
  }

  public func subdirectory(_ name: String) throws -> String {
    try FileManager.default.createDirectory(
      atPath: file(name), withIntermediateDirectories: true)
    return file(name)
  }

  /// A file that nobody else can read.
  public func secretFile(_ name: String, _ text: String) throws {
    let path = file(name)
    try Data(text.utf8).write(to: URL(filePath: path))
    try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
  }

  /// A sparse file of `size` zeros.
  public func sparseFile(_ name: String, size: Int) throws -> String {
    guard FileManager.default.createFile(atPath: file(name), contents: nil),
      unsafe truncate(file(name), size) == 0
    else { throw RigError("cannot create \(file(name))") }
    return file(name)
  }

  @discardableResult
  public func write(_ bytes: some Sequence<UInt8>, to name: String) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
    return file(name)
  }

  private static let parent = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"

  fileprivate static func dispose(of path: String, failed: Bool) {
    let keep = ProcessInfo.processInfo.environment["TAPLINE_KEEP"] == "1"
    guard failed || keep else {
      try? FileManager.default.removeItem(atPath: path)
      return
    }
    FileHandle.standardError.write(Data("kept \(path)\n".utf8))
  }
}

/// What one run of one test leaves behind, until it is known whether the test failed.
private final class ScratchScope: Sendable {
  @TaskLocal static var current: ScratchScope?

  private struct State {
    var failed = false
    var ended = false
    var left: [String] = []
  }
  private let state = Mutex(State())

  func fail() { state.withLock { $0.failed = true } }

  func leave(_ path: String) {
    let failed: Bool? = state.withLock {
      guard !$0.ended else { return $0.failed }
      $0.left.append(path)
      return nil
    }
    if let failed { ScratchDirectory.dispose(of: path, failed: failed) }
  }

  func end() {
    let (left, failed) = state.withLock { state in
      state.ended = true
      return (state.left, state.failed)
    }
    for path in left { ScratchDirectory.dispose(of: path, failed: failed) }
  }
}

/// Keeps the scratch directories of a test that recorded an issue or threw.
public struct ScratchTrait: TestTrait, SuiteTrait, TestScoping {
  public var isRecursive: Bool { true }

  public func provideScope(
    for test: Test, testCase: Test.Case?,
    performing function: @Sendable () async throws -> Void
  ) async throws {
    let scope = ScratchScope()
    defer { scope.end() }
    let watch = IssueHandlingTrait.compactMapIssues { issue in
      scope.fail()
      return issue
    }
    do {
      try await ScratchScope.$current.withValue(scope) {
        try await watch.provideScope(for: test, testCase: testCase, performing: function)
      }
    } catch {
      scope.fail()
      throw error
    }
  }
}

extension Trait where Self == ScratchTrait {
  public static var scratch: Self { Self() }
}
