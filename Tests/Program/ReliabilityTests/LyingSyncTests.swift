import TestSupport
import Testing

/// Proves that the tests with power cuts can fail: a site whose syncs lie loses what it promised,
/// and they notice. The lies are told by a library preloaded into the daemon that users run. Every
/// lie is told on one kind of volume, and on the others too when `TAPLINE_ROUNDS` is set.
@Suite(
  .scratch, .serialized, .mountsVolumes,
  .requires("mke2fs", "mkfs.xfs", "nbdkit", "nbdfuse", "gcc"))
struct LyingSyncTests {
  /// Loss is a matter of chance; so many sites, with so many cuts each, have always had one.
  private static let siteLimit = 20
  private static let roundLimit = 3

  struct Lie: Sendable, CustomTestStringConvertible {
    /// The files whose syncs are skipped.
    let files: String
    let kind: LossyVolume.Kind
    let journal: PoweredSite.Journal
    var testDescription: String { "\(files) on \(kind)" }
  }

  static let kinds: [LossyVolume.Kind] = testRounds(0) > 0 ? LossyVolume.Kind.allCases : [.ext4]

  static let lies: [Lie] = kinds.flatMap { kind in
    let lies = [
      Lie(files: "/segment-", kind: kind, journal: .growing),
      // The sync of each new file makes the names of those before it durable. So only the last
      // one's can be lost, before the file system commits its log by itself.
      Lie(files: "directories", kind: kind, journal: .recycling),
      Lie(files: "/state", kind: kind, journal: .recycling),
      Lie(files: "/disk.raw", kind: kind, journal: .recycling),
    ]
    // XFS logs a new name together with the file's inode, so that a sync of the file alone does.
    return lies.filter { kind != .xfs || $0.files != "directories" }
  }

  @Test(arguments: lies) func `a sync that is skipped is noticed`(lie: Lie) throws {
    let library = try ScratchDirectory()
    for number in 1...Self.siteLimit {
      let site = try PoweredSite(
        lie.kind, lie.journal, seed: testSeed(31) &+ UInt64(number),
        environment: try Self.environment(lie.files, library))
      for round in 1...Self.roundLimit {
        let lost = try site.round()
        guard lost.isEmpty else {
          print("\(lie.testDescription): noticed by site \(number), round \(round): \(lost[0])")
          return
        }
      }
    }
    Issue.record("nothing was lost in \(Self.siteLimit * Self.roundLimit) power cuts")
  }

  @Test(arguments: kinds)
  func `a recovery site that skips a sync is noticed`(kind: LossyVolume.Kind) throws {
    let library = try ScratchDirectory()
    let siege = try Siege(
      seed: testSeed(32), volumes: kind,
      peerEnvironment: try Self.environment("/segment-", library))
    for round in 1...Self.siteLimit {
      // A site that does not start again has lost its journal, too.
      var refusal: String?
      do { try siege.happen(.powerCut) } catch { refusal = "\(error)" }
      if let lost = refusal ?? siege.lost.first {
        print("recovery site on \(kind): noticed in round \(round): \(lost)")
        return
      }
    }
    Issue.record("nothing was lost in \(Self.siteLimit) power cuts")
  }

  /// Makes the library, and the environment in which it lies about `files`.
  private static func environment(
    _ files: String, _ scratch: ScratchDirectory
  ) throws -> [String: String] {
    let library = scratch.file("lying_sync.so")
    let source = "\(projectRoot)/Tests/Support/LyingSync/lying_sync.c"
    try run("gcc", ["-shared", "-fPIC", "-o", library, source]).checked()
    return ["LD_PRELOAD": library, "LYING_SYNC": files]
  }
}
