import TestSupport

/// A protected site with one disk and no peer.
struct SingleSite {
  let scratch: ScratchDirectory
  let site: Site
  let disk = "disk"

  init(
    size: Int = 8 << 20, history: String = "0s", segmentSize: String = "4M",
    adjust: (Site) throws -> Void = { _ in }
  ) throws {
    scratch = try ScratchDirectory()
    site = try Site("east", in: scratch)
    try site.addDisk(disk, size: size, role: .protected)
    site.configuration.groups[0].history = history
    site.configuration.groups[0].segmentSize = segmentSize
    try adjust(site)
    try site.start()
  }

  var uri: String { site.uri(disk) }
}
