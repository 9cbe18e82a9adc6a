import Foundation
import Testing

@testable import Configuration

/// Proves what a running site takes over from a configuration that was read again, and that
/// whatever else differs is named, item by item.
@Suite struct ConfigurationChangesTests {
  private static let text = """
    site: east
    data: /d
    listen:
      nbd:
        - "unix:/s"
        - { address: "tcp:0.0.0.0:10809", tls: required, certificates: /pki }
      control: "unix:/c"
    groups:
      - name: shop
        role: protected
        peer: { site: west, address: "tcp:west:1" }
        history: 1h
        journal: { capacity: 8G }
        disks:
          - { name: root, size: 2G, backing: "file:/root.raw" }
          - { name: data, backing: "file:/data.raw", access: [{ uid: 0, allow: read-only }] }
      - name: other
        role: plain
        disks:
          - { name: scratch, size: 1G, backing: "file:/scratch.raw" }
    """

  private static func read(_ text: String) throws -> SiteConfiguration {
    try SiteConfiguration(yaml: Array(text.utf8), file: "east.yaml")
  }

  struct Edit: CustomTestStringConvertible, Sendable {
    let old: String
    let new: String
    var applied: [String] = []
    var needsRestart: [String] = []
    var testDescription: String { "'\(old)' becomes '\(new)'" }
  }

  static let edits = [
    Edit(old: "size: 2G", new: "size: 3G", applied: ["disk root: size: 2G -> 3G"]),
    Edit(old: "size: 2G, ", new: "", applied: ["disk root: size: 2G -> not given"]),
    Edit(old: "size: 2G", new: "size: 1G", applied: ["disk root: size: 2G -> 1G"]),
    Edit(old: "uid: 0", new: "uid: 7", applied: ["disk data: access"]),
    Edit(
      old: "tls: required", new: "tls: optional",
      applied: [
        "listen.nbd tcp:0.0.0.0:10809: tls: required, certificates /pki -> "
          + "optional, certificates /pki"
      ]),
    Edit(
      old: "certificates: /pki", new: "keys: /k",
      applied: [
        "listen.nbd tcp:0.0.0.0:10809: tls: required, certificates /pki -> required, keys /k"
      ]),
    Edit(
      old: "tls: required", new: "tls: off",
      needsRestart: [
        "listen.nbd tcp:0.0.0.0:10809: tls: required, certificates /pki -> off"
      ]),
    Edit(old: "site: east", new: "site: north", needsRestart: ["site: east -> north"]),
    Edit(old: "data: /d", new: "data: /e", needsRestart: ["data: /d -> /e"]),
    Edit(
      old: "unix:/s\"", new: "unix:/t\"",
      needsRestart: ["listen.nbd: unix:/s, tcp:0.0.0.0:10809 -> unix:/t, tcp:0.0.0.0:10809"]),
    Edit(
      old: "control: \"unix:/c\"", new: "link: \"tcp:0.0.0.0:2\"",
      needsRestart: [
        "listen.link: not given -> tcp:0.0.0.0:2", "listen.control: unix:/c -> not given",
      ]),
    Edit(
      old: "history: 1h", new: "history: 90m",
      needsRestart: [
        "group shop: history: 1h -> 1h30m"
      ]),
    Edit(
      old: "peer: { site: west, address: \"tcp:west:1\" }",
      new: "peer: { site: north, address: \"tcp:west:2\" }",
      needsRestart: [
        "group shop: peer.site: west -> north",
        "group shop: peer.address: tcp:west:1 -> tcp:west:2",
      ]),
    Edit(
      old: "history: 1h", new: "mode: sync\n    apply_every: 2s\n    checkpoint_every: 0s",
      needsRestart: [
        "group shop: mode: async -> sync", "group shop: history: 1h -> 0s",
        "group shop: apply_every: 1s -> 2s", "group shop: checkpoint_every: 5s -> 0s",
      ]),
    Edit(
      old: "{ capacity: 8G }",
      new: "{ capacity: 9G, segment_size: 1M, view_scratch: 1G, on_full: block }",
      needsRestart: [
        "group shop: journal.capacity: 8G -> 9G", "group shop: journal.segment_size: 64M -> 1M",
        "group shop: journal.view_scratch: not given -> 1G",
        "group shop: journal.on_full: degrade -> block",
      ]),
    // The size belongs to the other file.
    Edit(
      old: "size: 2G, backing: \"file:/root.raw\"", new: "size: 3G, backing: \"file:/new.raw\"",
      needsRestart: [
        "disk root: size: 2G -> 3G", "disk root: backing: file:/root.raw -> file:/new.raw",
      ]),
    Edit(
      old: "name: scratch, size: 1G", new: "name: extra, size: 2G",
      needsRestart: ["group other: disks: scratch -> extra"]),
    Edit(
      old: "- name: other", new: "- name: third",
      needsRestart: ["group other: removed", "group third: new"]),
  ]

  @Test(arguments: edits) func `a change is applied or named`(edit: Edit) throws {
    let old = try Self.read(Self.text)
    let range = try #require(Self.text.range(of: edit.old))
    let new = try Self.read(Self.text.replacingCharacters(in: range, with: edit.new))
    let next = old.takingOver(from: new)
    #expect(old.differences(to: next) == edit.applied)
    #expect(next.differences(to: new) == edit.needsRestart)
    // What is in effect afterwards is asked for no more, and what is not stays named.
    #expect(next.takingOver(from: new) == next)
  }

  @Test func `a new disk does not keep another from growing`() throws {
    let old = try Self.read(Self.text)
    let new = try Self.read(
      Self.text.replacing(
        "- { name: root, size: 2G",
        with: "- { name: first, size: 1G, backing: \"file:/f\" }\n      - { name: root, size: 3G"))
    let next = old.takingOver(from: new)
    #expect(old.differences(to: next) == ["disk root: size: 2G -> 3G"])
    #expect(
      next.differences(to: new) == ["group shop: disks: data, root -> data, first, root"])
  }

  @Test func `sizes can be taken over alone`() throws {
    let old = try Self.read(Self.text)
    let new = try Self.read(
      Self.text.replacing("size: 2G", with: "size: 3G").replacing("uid: 0", with: "uid: 7"))
    #expect(old.takingOverSizes(from: new).differences(to: new) == ["disk data: access"])
  }

  @Test func `the order of groups means nothing`() throws {
    let old = try Self.read(Self.text)
    var new = old
    new.groups.reverse()
    #expect(old.differences(to: new) == [])
    #expect(old.takingOver(from: new) == old)
  }
}
