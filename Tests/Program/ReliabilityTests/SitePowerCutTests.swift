import TestSupport
import Testing

/// Proves that a power cut takes nothing that was acknowledged as durable, and of the rest only the
/// end; that instants of before it open after it; and that both sites agree again, whichever was
/// cut. Unsynced bytes are really lost: in the page cache and the log of the file system, or in the
/// write cache of the disk. `TAPLINE_ROUNDS` sets how many cuts a test makes.
@Suite(
  .scratch, .serialized, .mountsVolumes, .requires("mke2fs", "mkfs.xfs", "nbdkit", "nbdfuse"))
struct SitePowerCutTests {
  @Test(arguments: LossyVolume.Kind.allCases, PoweredSite.Journal.allCases)
  func `what a site has made durable survives`(
    kind: LossyVolume.Kind, journal: PoweredSite.Journal
  ) throws {
    let site = try PoweredSite(kind, journal, seed: testSeed(21))
    for round in 0..<testRounds(2) {
      let lost = try site.round()
      #expect(lost == [], "round \(round)")
      guard lost.isEmpty else { return }
    }
    try site.site.stop()
  }

  @Test(arguments: LossyVolume.Kind.allCases)
  func `sites agree after cuts of either or both`(kind: LossyVolume.Kind) throws {
    let siege = try Siege(seed: testSeed(22), volumes: kind)
    for _ in 0..<testRounds(2) { try siege.happen(.powerCut) }
    try siege.happen(.agreement)
    for _ in 0..<3 { try siege.happen(.view) }
    #expect(siege.lost == [])
    print("power cuts on \(kind): \(siege.counts)")
  }
}
