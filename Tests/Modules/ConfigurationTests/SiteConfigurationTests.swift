import Configuration
import Foundation
import SystemIO
import Testing

/// Proves that a complete configuration is read to exactly what it says, and that what is left out
/// takes the documented defaults.
@Suite struct SiteConfigurationTests {
  static let example = """
    site: east                              # this site's name
    data: /var/lib/tapline/east             # journals, state
    listen:
      nbd: ["unix:/run/tapline/east.sock", "tcp:127.0.0.1:10809"]
      link: "tcp:127.0.0.1:10810"           # peers connect here
      control: "unix:/run/tapline/east-control.sock"
    groups:
      - name: shop
        role: protected                     # or: recovery
        peer: { site: west, address: "tcp:127.0.0.1:20810" }   # a protected group's peer
        mode: async                         # or: sync
        history: 0s                         # local rewind window
        apply_every: 1s
        checkpoint_every: 5s
        journal: { capacity: 8G, on_full: degrade }   # block | throttle | degrade
        disks:
          - { name: shop-root, size: 20G, backing: "file:/srv/shop-root.raw" }
          - { name: shop-data, size: 100G, backing: "nbd+unix:///data?socket=/run/upstream.sock" }
    """

  private func read(_ yaml: String) throws -> SiteConfiguration {
    try SiteConfiguration(yaml: Array(yaml.utf8), file: "site.yaml")
  }

  @Test func readsACompleteSite() throws {
    let journal = JournalConfiguration(
      capacityBytes: 8 << 30, onFull: .degrade, segmentSizeBytes: 64 << 20)
    let disks = [
      DiskConfiguration(
        name: "shop-root", sizeBytes: 20 << 30, backing: .file(path: "/srv/shop-root.raw")),
      DiskConfiguration(
        name: "shop-data", sizeBytes: 100 << 30,
        backing: .nbd(uri: "nbd+unix:///data?socket=/run/upstream.sock")),
    ]
    let group = GroupConfiguration(
      name: "shop", role: .protected,
      peers: [PeerConfiguration(site: "west", address: .tcp(host: "127.0.0.1", port: 20810))],
      mode: .async, historyNanoseconds: 0, applyEveryNanoseconds: 1_000_000_000,
      checkpointEveryNanoseconds: 5_000_000_000, journal: journal, disks: disks)
    let expected = SiteConfiguration(
      site: "east", dataDirectory: "/var/lib/tapline/east",
      listen: ListenConfiguration(
        nbd: [
          .init(address: .unix(path: "/run/tapline/east.sock")),
          .init(address: .tcp(host: "127.0.0.1", port: 10809)),
        ],
        link: .tcp(host: "127.0.0.1", port: 10810),
        control: .unix(path: "/run/tapline/east-control.sock")),
      groups: [group])
    #expect(try read(Self.example) == expected)
  }

  @Test func readsARecoverySite() throws {
    let site = try read(
      """
      site: west
      data: west
      listen: { nbd: ["tcp:[::1]:0"], link: "tcp:[::1]:0" }
      groups:
      - name: shop
        role: recovery
        mode: sync
        peer: {site: east}
        history: 1h30m
        apply_every: 0.25s
        checkpoint_every: 0s
        journal:
          capacity: 256K
          segment_size: 64K
          on_full: block
          view_scratch: 1M
        disks: [{name: shop-root, backing: "file:target.raw"}]
      """)
    let anyPort = SocketAddress.tcp(host: "::1", port: 0)
    #expect(site.listen == ListenConfiguration(nbd: [.init(address: anyPort)], link: anyPort))
    let group = try #require(site.groups.first)
    #expect(group.role == .recovery)
    #expect(group.mode == .sync)
    #expect(group.peer == PeerConfiguration(site: "east"))
    #expect(group.historyNanoseconds == 5_400_000_000_000)
    #expect(group.applyEveryNanoseconds == 250_000_000)
    #expect(group.checkpointEveryNanoseconds == 0)
    let journal = JournalConfiguration(
      capacityBytes: 262_144, onFull: .block, segmentSizeBytes: 65_536,
      viewScratchBytes: 1 << 20)
    #expect(group.journal == journal)
    #expect(
      group.disks == [DiskConfiguration(name: "shop-root", backing: .file(path: "target.raw"))])
  }

  @Test func `several peers, of which each may say what a full journal does about it`() throws {
    let site = try read(
      """
      site: east
      data: /d
      listen: {nbd: ["unix:/s"]}
      groups:
      - name: g
        role: protected
        peers:
        - {site: west, address: "tcp:w:1"}
        - {site: south, address: "tcp:s:1", on_full: block}
        disks: [{name: d, backing: "file:/f"}]
      """)
    #expect(
      site.groups.first?.peers == [
        PeerConfiguration(site: "west", address: .tcp(host: "w", port: 1)),
        PeerConfiguration(site: "south", address: .tcp(host: "s", port: 1), onFull: .block),
      ])
  }

  @Test(arguments: [
    ("unix:/l", "{tls: off}"), ("tcp:127.0.0.1:1", "{tls: off}"), ("tcp:[::1]:1", "{tls: off}"),
    ("tcp:localhost:1", "{tls: off}"), ("tcp:h:1", "{tls: off, insecure: true}"),
    ("tcp:h:1", "{tls: required}"), ("tcp:h:1", "{}"), ("unix:/l", "{}"),
  ])
  func `links are encrypted, unless that is not asked for or they stay here`(
    address: String, links: String
  ) throws {
    let site = try read(
      "site: east\ndata: /d\nlisten: {link: \"\(address)\"}\nlinks: \(links)\ngroups: []\n")
    let link = try #require(site.listen.link)
    let isOff = links.contains("off") || address.hasPrefix("unix")
    #expect(site.links.isEncrypted(link) == !isOff)
    #expect(site.links.isExposed(link) == links.contains("insecure"))
  }

  @Test func takesTheDefaultsForWhatIsLeftOut() throws {
    let site = try read(
      """
      site: east
      data: /d
      listen: {nbd: ["unix:/s"]}
      groups: [{name: g, role: protected, disks: [{name: d, backing: "file:/f"}]}]
      """)
    let disk = DiskConfiguration(name: "d", sizeBytes: nil, backing: .file(path: "/f"))
    #expect(site.groups == [GroupConfiguration(name: "g", role: .protected, disks: [disk])])
    let group = try #require(site.groups.first)
    #expect(group.peer == nil)
    #expect(group.mode == .async)
    #expect(group.historyNanoseconds == 0)
    #expect(group.applyEveryNanoseconds == 1_000_000_000)
    #expect(group.checkpointEveryNanoseconds == 5_000_000_000)
    #expect(group.journal.capacityBytes == 8 << 30)
    #expect(group.journal.segmentSizeBytes == 64 << 20)
    #expect(group.journal.onFull == .degrade)
    #expect(group.journal.viewScratchLimit == 8 << 30)
    let limits = ClientLimits(
      connections: 1024, connectionsPerDisk: 256, requests: 1024, bytes: 8 << 20,
      handshakeNanoseconds: 10_000_000_000)
    #expect(site.limits == limits)
  }

  @Test func readsLimits() throws {
    let site = try read(
      """
      site: east
      data: /d
      listen: {nbd: ["unix:/s"]}
      limits:
        connections: 500
        connections_per_disk: 8
        requests: 64
        bytes: 2M
        handshake: 1.5s
      groups: [{name: g, role: protected, disks: [{name: d, backing: "file:/f"}]}]
      """)
    let limits = ClientLimits(
      connections: 500, connectionsPerDisk: 8, requests: 64, bytes: 2 << 20,
      handshakeNanoseconds: 1_500_000_000)
    #expect(site.limits == limits)
  }

  @Test func readsAFileWithAByteOrderMarkAndCarriageReturns() throws {
    let windows = "\u{feff}" + Self.example.replacingOccurrences(of: "\n", with: "\r\n")
    #expect(try read(windows) == read(Self.example))
  }

  @Test func readsFromAFile() throws {
    let url = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: url) }
    try Data(Self.example.utf8).write(to: url)
    #expect(try SiteConfiguration.load(path: url.path) == read(Self.example))
  }
}
