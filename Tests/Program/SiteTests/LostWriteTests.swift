import Foundation
import TestSupport
import Testing

/// Proves that a write which the system took, and could not bring to the disk later, does not count
/// as applied: the kernel says so once, to whichever call asks first.
@Suite(.scratch, .canMount, .hasLoopDevice) struct LostWriteTests {
  private static let block = 64 << 10
  private static let count = 128
  private static let size = 2 * count * block

  /// The first half of the device has no space below it, the second has all of its own: so the
  /// writes that are lost are not the last ones of a step.
  private func device(_ mount: Mount) throws -> (LoopDevice, image: String) {
    let image = try mount.sparseFile("disk.img", size: Self.size)
    try run(
      "fallocate", ["--offset", "\(Self.size / 2)", "--length", "\(Self.size / 2)", image]
    ).checked()
    try mount.fill()
    return (try LoopDevice(over: image), image)
  }

  @Test func `writes that the device loses are applied again until it takes them`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "\(Self.size)", in: scratch)
    let (device, image) = try device(mount)
    let site = try Site("east", in: scratch)
    site.addDisk("disk", size: Self.size, backing: "file:\(device.path)", role: .protected)
    try site.start()
    let client = try site.connect("disk")
    var expected = [UInt8](repeating: 0, count: Self.size)
    for number in 0..<Self.count {
      // Apart from each other: each becomes a write of its own.
      let start = 2 * number * Self.block
      let bytes = [UInt8](repeating: UInt8(number + 1), count: Self.block)
      try client.write(bytes, at: UInt64(start))
      expected.replaceSubrange(start..<start + Self.block, with: bytes)
    }
    try client.flush()
    func health() throws -> String {
      try TaplineContract.group("g", in: site.status())["health"]?.string ?? ""
    }
    try eventually("health says that the disk does not take it") {
      try health().contains("apply is stopped") && health().contains("device")
    }
    #expect(difference(try site.image("disk"), expected) == nil)
    try mount.free()
    try eventually("health is well again") { try health() == "ok" }
    try site.stop()
    #expect(!site.log.contains("not applied"), "\(site.log)")
    // As the device has it, not as memory shows it.
    #expect(difference(Array(try Data(contentsOf: URL(fileURLWithPath: image))), expected) == nil)
  }
}
