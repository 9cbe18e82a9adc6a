import SystemIO
import TestSupport
import Testing

/// Proves that folders which the program makes are there after a power cut, on file systems that
/// lose what was not synced.
@Suite(.scratch, .serialized, .mountsVolumes, .requires("mke2fs", "mkfs.xfs"))
struct DirectoryTests {
  @Test(arguments: [LossyVolume.Kind.ext4, .xfs])
  func `a folder with its missing parents survives a power cut`(kind: LossyVolume.Kind) throws {
    let volume = try LossyVolume(kind, named: "disk", in: try ScratchDirectory())
    let folder = "\(volume.path)/one/two/three"
    try Directory.create(folder)
    try volume.cut()
    try volume.restore()
    #expect(Directory.exists(folder))
  }

  @Test func `a folder that is there stays as it is`() throws {
    let scratch = try ScratchDirectory()
    let folder = "\(scratch.path)/one"
    try Directory.create("\(folder)/two")
    try Directory.create(folder)
    #expect(try Directory.names(in: folder) == ["two"])
  }
}
