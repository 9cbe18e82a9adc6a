import Foundation
import FuzzTargets
import TestSupport
import Testing

/// Proves that the fuzzer itself is in order: it builds, reaches the code that it is for, and finds
/// nothing in a few seconds a target.
@Suite(.serialized) struct FuzzRunTests {
  private static let tool = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Tools/fuzz").path
  /// The exit code of `Tools/fuzz` for a toolchain without a fuzzer.
  private static let noFuzzer: Int32 = 3
  private static let seconds = 10
  /// The first build takes minutes on a small machine.
  private static let limit = Duration.seconds(900)

  @Test(arguments: FuzzTarget.allCases)
  func `nothing is found in ten seconds`(target: FuzzTarget) throws {
    let finished = try run(
      Self.tool, [target.rawValue, "\(Self.seconds)"], within: Self.limit)
    if finished.status == Self.noFuzzer, !skipNothing {
      try skipTest("\(finished.stderr.suffix(200))")
    }
    #expect(finished.status == 0, "\(finished)")
    let runs = finished.stderr.firstMatch(of: /Done (\d+) runs/).flatMap { Int($0.1) }
    #expect(try #require(runs) > 100)
    let coverage = finished.stderr.matches(of: /cov: (\d+)/).last.flatMap { Int($0.1) }
    #expect(try #require(coverage) > 500)
  }
}
