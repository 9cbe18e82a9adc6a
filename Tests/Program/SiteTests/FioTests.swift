import TestSupport
import Testing

/// Proves with fio's own checks that what several jobs write, zero and trim at once is what they
/// read, also after the site has crashed.
@Suite(.scratch, .requires("fio")) struct FioTests {
  private static let size = 64 << 20

  private func fio(_ single: SingleSite, _ jobs: [[String]]) throws {
    let shared = [
      "--ioengine=nbd", "--uri=\(single.uri)", "--bs=4k", "--verify_state_save=0",
      "--verify_fatal=1", "--randseed=\(testSeed(1))", "--minimal",
    ]
    let named = jobs.enumerated().flatMap { ["--name=job\($0.offset)"] + $0.element }
    try run("fio", shared + named, within: .seconds(120)).checked()
  }

  @Test func `jobs on parts of one disk verify what they wrote`() throws {
    let single = try SingleSite(size: Self.size)
    let verify = ["--verify=crc32c", "--size=16m"]
    try fio(
      single,
      [
        ["--rw=randwrite", "--io_size=8m", "--iodepth=32", "--fsync=32"] + verify,
        ["--rw=randrw", "--io_size=8m", "--iodepth=8", "--offset=16m", "--bsrange=512-64k"]
          + verify,
        ["--rw=trimwrite", "--size=16m", "--iodepth=8", "--offset=32m"],
        ["--rw=randtrim", "--io_size=4m", "--size=16m", "--iodepth=16", "--offset=48m"],
      ])
    let image = try single.site.image("disk")
    #expect(image[(32 << 20)..<(48 << 20)].contains { $0 != 0 })
    #expect(image[(48 << 20)...].allSatisfy { $0 == 0 })
  }

  @Test(arguments: ["--fsync=16", "--fsync=1", "--end_fsync=1"])
  func `what was synced verifies after a crash of the site`(sync: String) throws {
    let single = try SingleSite(size: Self.size)
    let job = [
      "--rw=randwrite", "--size=16m", "--io_size=8m", "--iodepth=16", "--verify=crc32c", sync,
      "--end_fsync=1",
    ]
    try fio(single, [job + ["--do_verify=0"]])
    try single.site.crash()
    try single.site.start()
    try fio(single, [job + ["--verify_only"]])
  }
}
