import Foundation
import TestSupport
import Testing

/// Proves what `docs/reliability.md` promises, over simulated machines: a seed is the same run
/// every time, seeds find nothing wrong, and each deliberate mistake is caught, so that seeds which
/// find nothing mean something.
@Suite(
  .serialized,
  .enabled(
    if: Simulator.isThere || skipNothing,
    "no simulator: name the one that `Tools/simulate --build` prints in TAPLINE_SIMULATOR"))
struct SimulationTests {
  @Test(arguments: [1, 5, 12, 33])
  func `a seed is the same run each time`(seed: Int) throws {
    let first = try Simulator.run("--seed", "\(seed)").checked()
    // Not even where things lie in memory may make a difference.
    let ballast = ["TAPLINE_BALLAST": String(repeating: "x", count: 9000)]
    let second = try Simulator.run("--seed", "\(seed)", environment: ballast).checked()
    #expect(first.stdout.contains(", digest "))
    #expect(first.stdout == second.stdout)
  }

  @Test func `the first seeds find nothing wrong`() throws {
    let finished = try Simulator.run("120")
    #expect(finished.status == 0, "\(finished)")
  }

  @Test func `the first worlds of failover find nothing wrong`() throws {
    let finished = try Simulator.run("80", "1000001")
    #expect(finished.status == 0, "\(finished)")
  }

  @Test(arguments: try Simulator.regressions())
  func `a seed that has found something once finds nothing`(seed: Int) throws {
    let finished = try Simulator.run("--seed", "\(seed)")
    #expect(finished.status == 0, "\(finished)")
  }

  @Test(arguments: try Simulator.describedMutants())
  func `a deliberate mistake is caught`(mutant: String) throws {
    let finished = try Simulator.run("--mutants", mutant)
    #expect(finished.status == 0, "\(finished)")
  }

  @Test func `the table of mistakes has all of them`() throws {
    let listed = try TestSupport.run(Simulator.path(), ["--list-mutants"]).checked().stdout
    #expect(
      try Simulator.describedMutants().sorted()
        == listed.split(separator: "\n").map(String.init).sorted())
  }
}
