import Foundation
import TestSupport
import Testing

/// Proves that a reload takes over, or names as needing a restart, whatever key of the
/// configuration has changed: it never says that nothing has. `docs/configure.md` has the keys, and
/// what a reload does with each; another test compares it with the table in the code.
@Suite(.scratch) struct ReloadKeyTests {
  private static let page = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "docs/configure.md")

  /// By key: whether a running site takes a new value over.
  private static func documented() throws -> [String: Bool] {
    let lines = try String(contentsOf: page, encoding: .utf8).split(separator: "\n")
    let heading = try #require(lines.firstIndex(of: "| key | at a reload |"))
    let rows = lines[(heading + 2)...].prefix { $0.hasPrefix("|") }.map {
      $0.split(separator: "|").map { $0.trimmingCharacters(in: [" ", "`"]) }
    }
    return Dictionary(uniqueKeysWithValues: rows.map { ($0[0], $0[1] == "taken over") })
  }

  /// A change of one key, and what the line that tells it holds.
  struct Edit: CustomTestStringConvertible, Sendable {
    let key: String
    let old: String
    let new: String
    let told: String
    var isRefused = false
    var testDescription: String { key }

    init(_ key: String, _ old: String, _ new: String, _ told: String, isRefused: Bool = false) {
      (self.key, self.old, self.new, self.told) = (key, old, new, told)
      self.isRefused = isRefused
    }
  }

  static let edits = [
    Edit("site", "site: east", "site: north", "site: east -> north"),
    Edit("data", "data: SCRATCH/east-data", "data: SCRATCH/else", "data: "),
    Edit("listen.nbd", "  link:", "    - \"unix:SCRATCH/more.sock\"\n  link:", "more.sock"),
    Edit("listen.nbd[].address", "east.sock", "other.sock", "listen.nbd: "),
    Edit("listen.nbd[].tls", "tls: optional", "tls: required", "tls: optional"),
    Edit("listen.nbd[].certificates", "SCRATCH/pki", "SCRATCH/new-pki", "new-pki"),
    Edit("listen.nbd[].verify_clients", "verify_clients: false", "verify_clients: true", "tls: "),
    Edit("listen.nbd[].keys", "SCRATCH/keys.psk", "SCRATCH/new.psk", "new.psk"),
    Edit("listen.link", "link: \"tcp:127.0.0.1:LINK\"", "link: \"tcp:127.0.0.1:1\"", "listen.link"),
    Edit("listen.control", "east.ctl", "other.ctl", "listen.control"),
    Edit("links.tls", "tls: off }", "tls: required }", "links.tls: off -> required"),
    Edit("links.insecure", "off }", "off, insecure: true }", "links.insecure: false -> true"),
    Edit("limits.connections", " connections: 100", " connections: 99", "limits.connections: 100"),
    Edit("limits.connections_per_disk", "per_disk: 50", "per_disk: 49", "connections_per_disk: 50"),
    Edit("limits.requests", "requests: 64", "requests: 65", "limits.requests: 64 -> 65"),
    Edit("limits.bytes", "bytes: 4M", "bytes: 5M", "limits.bytes: 4M -> 5M"),
    Edit("limits.handshake", "handshake: 9s", "handshake: 8s", "limits.handshake: 9s -> 8s"),
    Edit("groups[].name", "name: g", "name: h", "group g: removed"),
    Edit("groups[].role", "role: plain", "role: protected", "group p: role: plain -> protected"),
    Edit("groups[].peer.site", "site: west", "site: south", "peer.site: west -> south"),
    Edit("groups[].peer.address", "127.0.0.1:2\"", "127.0.0.1:3\"", "peer.address: "),
    Edit("groups[].peer.on_full", "2\", on_full: block", "2\", on_full: degrade", "peer.on_full: "),
    Edit("groups[].peers[].site", "site: up", "site: over", "peers: up, down -> over, down"),
    Edit("groups[].peers[].address", "127.0.0.1:4\"", "127.0.0.1:5\"", "peer up: address: "),
    Edit("groups[].peers[].on_full", "full: throttle", "full: block", "peer up: on_full: throttle"),
    Edit("groups[].mode", "mode: async", "mode: sync", "mode sync", isRefused: true),
    Edit("groups[].history", "history: 1h", "history: 2h", "history: 1h -> 2h"),
    Edit("groups[].apply_every", "apply_every: 200ms", "apply_every: 1s", "apply_every: 200ms"),
    Edit("groups[].checkpoint_every", "every: 7s", "every: 6s", "checkpoint_every: 7s -> 6s"),
    Edit("groups[].journal.capacity", "capacity: 8M", "capacity: 9M", "journal.capacity: 8M"),
    Edit("groups[].journal.segment_size", "size: 256K", "size: 512K", "journal.segment_size: 256K"),
    Edit("groups[].journal.view_scratch", "scratch: 2M", "scratch: 3M", "journal.view_scratch: 2M"),
    Edit(
      "groups[].journal.on_full", "2M, on_full: block", "2M, on_full: degrade",
      "journal.on_full: block"),
    Edit(
      "groups[].disks[].name", "name: disk", "name: root", "a disk keeps its name",
      isRefused: true),
    Edit("groups[].disks[].size", "size: 1M", "size: 2M", "disk"),
    Edit("groups[].disks[].backing", "SCRATCH/one.raw", "SCRATCH/two.raw", "disk disk: backing"),
    Edit("groups[].disks[].access[].client", "client: bob", "client: eve", "disk disk: access"),
    Edit("groups[].disks[].access[].uid", "uid: 0", "uid: 1", "disk disk: access"),
    Edit("groups[].disks[].access[].gid", "gid: 7", "gid: 8", "disk disk: access"),
    Edit("groups[].disks[].access[].allow", "bob, allow: none", "bob, allow: read-only", "access"),
  ]

  private static func text(_ scratch: ScratchDirectory, link: UInt16, tcp: [UInt16]) -> String {
    """
    site: east
    data: SCRATCH/east-data
    listen:
      nbd:
        - "unix:SCRATCH/east.sock"
        - { address: "tcp:127.0.0.1:\(tcp[0])", tls: optional, certificates: SCRATCH/pki,
            verify_clients: false }
        - { address: "tcp:127.0.0.1:\(tcp[1])", tls: required, keys: SCRATCH/keys.psk }
      link: "tcp:127.0.0.1:LINK"
      control: "unix:SCRATCH/east.ctl"
    links: { tls: off }
    limits: { connections: 100, connections_per_disk: 50, requests: 64, bytes: 4M, handshake: 9s }
    groups:
      - name: g
        role: protected
        peer: { site: west, address: "tcp:127.0.0.1:2", on_full: block }
        mode: async
        history: 1h
        apply_every: 200ms
        checkpoint_every: 7s
        journal: { capacity: 8M, segment_size: 256K, view_scratch: 2M, on_full: block }
        disks:
          - name: disk
            size: 1M
            backing: "file:SCRATCH/one.raw"
            access:
              - { client: bob, allow: none }
              - { uid: 0, allow: read-write }
              - { gid: 7, allow: read-only }
      - name: p
        role: plain
        disks: [{ name: scratch, backing: "file:SCRATCH/plain.raw" }]
      - name: q
        role: protected
        peers:
          - { site: up, address: "tcp:127.0.0.1:4", on_full: throttle }
          - { site: down, address: "tcp:127.0.0.1:6" }
        disks: [{ name: many, backing: "file:SCRATCH/many.raw" }]

    """.replacing("SCRATCH", with: scratch.path).replacing("LINK", with: "\(link)")
  }

  private func prepare(_ scratch: ScratchDirectory) throws {
    let server = try Certificates(in: scratch).server()
    for folder in ["pki", "new-pki"] {
      try FileManager.default.copyItem(atPath: server, toPath: scratch.file(folder))
    }
    for file in ["keys.psk", "new.psk"] {
      try scratch.secretFile(file, "alice:0123456789abcdef0123456789abcdef\n")
    }
    for file in ["one.raw", "two.raw", "plain.raw", "many.raw"] {
      _ = try scratch.sparseFile(file, size: 1 << 20)
    }
    _ = try scratch.subdirectory("east-data")
  }

  @Test func `every key is changed by a test`() throws {
    #expect(Set(Self.edits.map(\.key)) == Set(try Self.documented().keys))
  }

  @Test(.requires("openssl"), arguments: edits)
  func `a key that changes is taken over or named`(edit: Edit) throws {
    let scratch = try ScratchDirectory()
    try prepare(scratch)
    let file = scratch.file("east.yaml")
    let link = try unusedPort()
    let text = Self.text(scratch, link: link, tcp: [try unusedPort(), try unusedPort()])
    try text.write(toFile: file, atomically: false, encoding: .utf8)
    let site = try ChildProcess(
      TaplineBinary.path(), TaplineContract.site(file), name: "east", logs: scratch)
    try site.waitForLine(TaplineContract.readyLine, within: hangLimit)
    let (old, new) = [edit.old, edit.new].map {
      $0.replacing("SCRATCH", with: scratch.path).replacing("LINK", with: "\(link)")
    }.pair
    let range = try #require(text.range(of: old))
    try text.replacingCharacters(in: range, with: new).write(
      toFile: file, atomically: false, encoding: .utf8)

    let control = "unix:\(scratch.file("east.ctl"))"
    let finished = try run(
      TaplineBinary.path(), ["reload", "--json", "--control", control])
    if edit.isRefused {
      #expect(finished.status == 1 && finished.stderr.contains(edit.told), "\(finished)")
      #expect(finished.stderr.contains("nothing was changed"), "\(finished)")
    } else {
      let json = try JSON(finished.checked().stdout)
      func lines(_ key: String) -> [String] { json[key]?.elements.compactMap(\.string) ?? [] }
      let grown = json["grown"]?.elements.compactMap { $0["disk"]?.string } ?? []
      let isTakenOver = try #require(try Self.documented()[edit.key])
      let found = isTakenOver ? lines("applied") + grown : lines("needs_restart")
      #expect(found.contains { $0.contains(edit.told) }, "\(finished)")
      if isTakenOver { #expect(lines("needs_restart").isEmpty, "\(finished)") }
    }
    try site.terminate()
  }
}

extension [String] {
  fileprivate var pair: (String, String) { (self[0], self[1]) }
}
