import TestSupport

extension SitePair {
  /// Two sites that run; the disk `root` has what a guest boots from and works on.
  static func withGuestDisk(size: Int, _ kernel: GuestKernel) throws -> SitePair {
    let pair = try SitePair(disks: ["root": size], start: false) { east, west in
      for site in [east, west] {
        site.configuration.groups[0].segmentSize = "16M"
        site.configuration.groups[0].journalCapacity = "512M"
      }
    }
    try GuestDisk.make(
      at: pair.east.rawFile("root"), size: size, kernel: kernel, scratch: pair.scratch)
    try pair.start()
    return pair
  }
}
