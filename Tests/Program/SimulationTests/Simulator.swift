import Foundation
import TestSupport

/// The program that `Tools/simulate` builds, and the files that say what it should find.
enum Simulator {
  private static let variable = "TAPLINE_SIMULATOR"
  private static let root = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  /// For what takes seconds on an idle machine.
  private static let limit = Duration.seconds(300)

  static var isThere: Bool { (try? path()) != nil }

  static func path() throws -> String {
    guard let path = ProcessInfo.processInfo.environment[variable] else {
      throw RigError("\(variable) is not set")
    }
    return try Tool.require(path)
  }

  /// Runs `Tools/simulate`, which builds nothing: the simulator is there.
  static func run(
    _ arguments: String..., environment: [String: String] = [:]
  ) throws -> Finished {
    _ = try path()
    return try TestSupport.run(
      root.appending(path: "Tools/simulate").path, arguments, within: limit,
      environment: environment)
  }

  /// The seeds at the beginning of each line; what follows says what they found.
  static func regressions() throws -> [Int] {
    let file = root.appending(path: "Tools/simulator/regressions.txt")
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
    return text.split(separator: "\n").compactMap {
      $0.split(separator: " ").first.flatMap { Int($0) }
    }
  }

  /// The names in the first column of the table in `docs/reliability.md`.
  static func describedMutants() throws -> [String] {
    let text = try String(
      contentsOf: root.appending(path: "docs/reliability.md"), encoding: .utf8)
    return text.matches(of: /(?m)^\| `([a-z-]+)` \|.*\| \d+ \|/).map { String($0.1) }
  }
}
