import Foundation
import Testing

/// Programs of the system that tests drive.
public enum Tool {
  /// Directories in the order in which programs are looked for. The system's come before those of
  /// the caller's PATH: a Python of another origin has no bindings of the system's libraries.
  static let searchPath: [String] = {
    let caller = ProcessInfo.processInfo.environment["PATH"] ?? ""
    return ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
      + caller.split(separator: ":").map(String.init)
  }()

  /// The path of a program, or nil. A name with a slash is taken as it is.
  public static func find(_ name: String) -> String? {
    if name.contains("/") { return isExecutable(name) ? name : nil }
    return searchPath.lazy.map { "\($0)/\(name)" }.first(where: isExecutable)
  }

  /// - Throws: `RigError` naming the program.
  public static func require(_ name: String) throws -> String {
    guard let path = find(name) else { throw RigError("no program \(name) on this machine") }
    return path
  }

  private static func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

  /// Which of `needs` this machine lacks: names of programs, or paths of devices to be opened.
  static func missing(_ needs: [String]) -> [String] {
    needs.filter { need in
      guard need.hasPrefix("/dev/") else { return find(need) == nil }
      return unsafe access(need, R_OK | W_OK) != 0
    }
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips a test, naming what is missing, where a program or a device (`/dev/…`) is not there.
  /// With `TAPLINE_SKIP_NOTHING=1` the test runs and fails instead.
  public static func requires(_ needs: String...) -> Self {
    let missing = Tool.missing(needs)
    return .enabled(
      if: missing.isEmpty || skipNothing, "not on this machine: \(missing.joined(separator: ", "))")
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips what holds of optimised code alone where the binary under test is a debug build.
  public static var requiresReleaseBuild: Self {
    .enabled(
      if: TaplineBinary.isOptimized || skipNothing,
      "the binary under test is a debug build; name a release build in TAPLINE_BIN")
  }
}

/// Whether a test that lacks something must fail rather than be skipped.
public let skipNothing = ProcessInfo.processInfo.environment["TAPLINE_SKIP_NOTHING"] == "1"
