import Configuration
import TestSupport

@testable import Appliance

/// The host of a recovery group `g` of one disk, which serves; its loop does not run yet.
func recoveryHost(
  _ scratch: ScratchDirectory, log: @escaping @Sendable (String) -> Void = { _ in }
) throws -> GroupHost {
  try host(scratch, ["role: recovery", "peer: { site: east }"], log)
}

/// The same with a protected group, which has no peer.
func protectedHost(_ scratch: ScratchDirectory) throws -> GroupHost {
  try host(scratch, ["role: protected", "history: 1d"]) { _ in }
}

private func host(
  _ scratch: ScratchDirectory, _ lines: [String], _ log: @escaping @Sendable (String) -> Void
) throws -> GroupHost {
  let raw = try scratch.sparseFile("disk.raw", size: 1 << 20)
  let yaml = """
    site: west
    data: \(try scratch.subdirectory("data"))
    listen: { nbd: ["tcp:127.0.0.1:0"], link: "tcp:127.0.0.1:0" }
    groups:
      - name: g
        \(lines.joined(separator: "\n    "))
        journal: { capacity: 1M, segment_size: 64K }
        disks: [{ name: disk, size: 1M, backing: "file:\(raw)" }]
    """
  let site = try SiteConfiguration(yaml: Array(yaml.utf8), file: "site.yaml")
  let host = GroupHost(
    site.groups[0], origin: nil, loop: try EventLoop(name: "loop"), files: InheritedFiles(),
    .init(site: "west", dataDirectory: site.dataDirectory, log: log))
  host.start()
  if let refusal = host.firstRefusal() { throw refusal }
  try host.noteUse()
  host.serves()
  return host
}
