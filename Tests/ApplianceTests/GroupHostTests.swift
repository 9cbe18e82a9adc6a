import Configuration
import TestSupport
import Testing

@testable import Appliance

/// Proves when a group is there for clients, peers and the rest of the site.
@Suite(.scratch) struct GroupHostTests {
  private func host(_ scratch: ScratchDirectory) throws -> GroupHost {
    let raw = try scratch.sparseFile("disk.raw", size: 1 << 20)
    let yaml = """
      site: east
      data: \(try scratch.subdirectory("data"))
      listen: { nbd: ["tcp:127.0.0.1:0"] }
      groups:
        - name: g
          role: protected
          journal: { capacity: 1M, segment_size: 64K }
          disks: [{ name: disk, size: 1M, backing: "file:\(raw)" }]
      """
    let site = try SiteConfiguration(yaml: Array(yaml.utf8), file: "site.yaml")
    return GroupHost(
      site.groups[0], origin: nil, loop: try EventLoop(name: "loop"), files: InheritedFiles(),
      .init(site: "east", dataDirectory: site.dataDirectory) { _ in })
  }

  @Test func `nobody comes to a group before it is written down that it is in use`() throws {
    let scratch = try ScratchDirectory()
    let host = try host(scratch)
    host.start()
    if let refusal = host.firstRefusal() { throw refusal }
    #expect(host.prepared != nil && host.group == nil)
    try host.noteUse()
    #expect(host.group == nil)
    host.serves()
    #expect(host.group != nil)
    host.loop.start()
    host.release()
    host.stop()
    host.join()
    #expect(host.group == nil)
    host.loop.stop()
  }
}
