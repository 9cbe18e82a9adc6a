import Configuration
import SystemIO
import TestSupport

@testable import Appliance

/// The host of a recovery group `g` of one disk, which serves; its loop does not run yet.
func recoveryHost(
  _ scratch: ScratchDirectory, log: @escaping @Sendable (String) -> Void = { _ in }
) throws -> GroupHost {
  let raw = try scratch.sparseFile("disk.raw", size: 1 << 20)
  let yaml = """
    site: west
    data: \(try scratch.subdirectory("data"))
    listen: { nbd: ["tcp:127.0.0.1:0"], link: "tcp:127.0.0.1:0" }
    groups:
      - name: g
        role: recovery
        peer: { site: east }
        journal: { capacity: 1M, segment_size: 64K }
        disks: [{ name: disk, size: 1M, backing: "file:\(raw)" }]
    """
  let site = try SiteConfiguration(yaml: Array(yaml.utf8), file: "site.yaml")
  let host = GroupHost(
    site.groups[0], origin: nil, loop: try EventLoop(name: "loop"), files: InheritedFiles(),
    .init(site: "west", dataDirectory: site.dataDirectory, log: log))
  try host.open()
  return host
}

/// The host of a protected group `g` of one disk, without peer; nothing of it runs yet.
func protectedHost(_ scratch: ScratchDirectory) throws -> GroupHost {
  _ = try scratch.sparseFile("disk.raw", size: 1 << 20)
  _ = try scratch.subdirectory("data")
  return try protectedHost(at: scratch)
}

/// The same, of one that was there before.
func protectedHost(at scratch: ScratchDirectory) throws -> GroupHost {
  let raw = scratch.file("disk.raw")
  let yaml = """
    site: east
    data: \(scratch.file("data"))
    listen: { nbd: ["tcp:127.0.0.1:0"] }
    groups:
      - name: g
        role: protected
        history: 1h
        journal: { capacity: 16M, segment_size: 1M }
        disks: [{ name: disk, size: 1M, backing: "file:\(raw)" }]
    """
  let site = try SiteConfiguration(yaml: Array(yaml.utf8), file: "site.yaml")
  return GroupHost(
    site.groups[0], origin: nil, loop: try EventLoop(name: "loop"), files: InheritedFiles(),
    .init(site: "east", dataDirectory: site.dataDirectory) { _ in })
}

extension GroupHost {
  /// Serves; its loop does not run yet.
  func open() throws {
    start()
    if let refusal = firstRefusal() { throw refusal }
    try noteUse()
    serves()
  }

  /// Serves as the site does when all its groups are open; returns when there is room for a record.
  func serve() throws {
    try open()
    loop.start()
    guard let group else { throw RigError("the group does not serve") }
    loop.post { group.begin() }
    release()
    try eventually("there is room") {
      group.loop.ask { $0(group.journal?.hasRoom(payloadByteCount: 0) == true) } == true
    }
  }

  func end() {
    stop()
    join()
    loop.stop()
  }
}

/// Such a recovery host, with a door where peers arrive.
final class LinkedHost {
  let host: GroupHost
  let endpoint: SocketAddress
  private let scratch: ScratchDirectory
  private let front: EventLoop
  private let door: LinkDoor
  private let lines = Monitor<[String]>([])
  private var isClosed = false

  /// Of the group's journal.
  var folder: String { scratch.file("data/g") }
  var log: [String] { lines.withLock { $0 } }

  init(_ scratch: ScratchDirectory) throws {
    self.scratch = scratch
    let lines = lines
    let note: @Sendable (String) -> Void = { line in lines.update { $0.append(line) } }
    host = try recoveryHost(scratch, log: note)
    front = try EventLoop(name: "front")
    door = LinkDoor(
      site: "west", loop: front, trust: nil,
      greetingNanoseconds: ClientLimits().handshakeNanoseconds, log: note,
      find: [host].findForPeer)
    let listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    endpoint = .tcp(host: "127.0.0.1", port: try listener.localPort())
    host.loop.start()
    front.start()
    let door = door
    front.perform { door.open(listener) }
  }

  /// A test that fails closes nothing; what runs here has no other owner.
  deinit { close() }

  func close() {
    if isClosed { return }
    isClosed = true
    let door = door
    front.perform { door.close() }
    host.release()
    host.end()
    front.stop()
  }
}
