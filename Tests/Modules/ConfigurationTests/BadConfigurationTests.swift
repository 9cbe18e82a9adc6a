import Configuration
import Foundation
import TestSupport
import Testing

/// A configuration that must be refused, the line that the error must name and words of its reason.
struct BadConfiguration: CustomTestStringConvertible {
  var line: Int?
  var reason: String
  var yaml: String

  init(_ line: Int?, _ reason: String, _ yaml: String) {
    self.line = line
    self.reason = reason
    self.yaml = yaml
  }

  /// A good site with one line of its group, line 6, replaced.
  static func group(_ line: Int?, _ reason: String, _ replacement: String) -> BadConfiguration {
    BadConfiguration(
      line, reason,
      """
      site: east
      data: /d
      listen: {nbd: ["unix:/s"], link: "tcp:h:1"}
      groups:
      - name: g
        \(replacement)
        role: protected
        disks:
        - {name: d, backing: "file:/f"}
      """)
  }

  /// A good site with its listeners, line 3, replaced.
  static func listen(_ reason: String, _ listeners: String) -> BadConfiguration {
    BadConfiguration(
      3, reason,
      """
      site: east
      data: /d
      listen: {\(listeners)}
      groups: []
      """)
  }

  /// A good site, its listeners in line 3, with links, line 4.
  static func links(_ line: Int, _ reason: String, _ links: String) -> BadConfiguration {
    BadConfiguration(
      line, reason,
      "site: east\ndata: /d\nlisten: {link: \"tcp:0.0.0.0:1\"}\nlinks: \(links)\ngroups: []\n")
  }

  /// A good site with limits, line 4.
  static func limits(_ reason: String, _ limits: String) -> BadConfiguration {
    BadConfiguration(
      4, reason, "site: east\ndata: /d\nlisten: {}\nlimits: \(limits)\ngroups: []\n")
  }

  /// A good site with the text of its disks, from line 8 on, replaced.
  static func disks(_ line: Int?, _ reason: String, _ disks: String) -> BadConfiguration {
    BadConfiguration(
      line, reason,
      """
      site: east
      data: /d
      listen: {nbd: ["unix:/s"]}
      groups:
      - name: g
        role: protected
        disks:
        \(disks)
      """)
  }

  var testDescription: String { reason }
}

/// Proves that what is wrong in a configuration is refused with the line at which it stands and a
/// reason that names it.
@Suite struct BadConfigurationTests {
  private func failure(_ yaml: some Sequence<UInt8>) -> ConfigurationError? {
    do throws(ConfigurationError) {
      _ = try SiteConfiguration(yaml: Array(yaml), file: "site.yaml")
      return nil
    } catch {
      return error
    }
  }

  @Test func acceptsTheTablesUnchangedSite() {
    #expect(failure(BadConfiguration.group(nil, "", "mode: sync").yaml.utf8) == nil)
    #expect(failure(BadConfiguration.listen("", "").yaml.utf8) == nil)
    let disk = "- {name: d, backing: \"file:/f\"}"
    #expect(failure(BadConfiguration.disks(nil, "", disk).yaml.utf8) == nil)
  }

  static let texts = [
    BadConfiguration(1, "empty", ""),
    BadConfiguration(1, "empty", "# nothing\n"),
    BadConfiguration(1, "a mapping", "- a\n- b\n"),
    BadConfiguration(2, "not nothing", "---\n"),
    BadConfiguration(3, "not YAML", "site: east\ndata: [\n"),
    BadConfiguration(2, "not YAML", "site: east\n\tdata: x\n"),
    BadConfiguration(2, "not YAML", "site: east\ndata: \"a\u{1}b\"\n"),
    BadConfiguration(2, "single word", "site: east\n? [a]\n: b\n"),
    BadConfiguration(3, "alias", "site: east\ndata: x\nlisten: *s\n"),
    BadConfiguration(1, "anchor", "site: &s east\ndata: *s\n"),
    BadConfiguration(2, "anchor", "site: east\nlisten: &l {}\n"),
    BadConfiguration(2, "tag", "site: east\ndata: !!binary aGk=\n"),
    BadConfiguration(3, "deep", "site: east\nlisten:\n  \(String(repeating: "[", count: 20))"),
    BadConfiguration(
      5, "more than one YAML document", "site: a\ndata: b\nlisten: {}\ngroups: []\n---\nx: y\n"),
    BadConfiguration(1, "'site' of the site is missing", "data: b\nlisten: {}\ngroups: []\n"),
    BadConfiguration(2, "'data'", "# comment\nsite: b\nlisten: {}\ngroups: []\n"),
    BadConfiguration(1, "'listen'", "site: a\ndata: b\ngroups: []\n"),
    BadConfiguration(1, "'groups'", "site: a\ndata: b\nlisten: {}\n"),
    BadConfiguration(2, "did you mean 'data'", "site: a\ndate: b\n"),
    BadConfiguration(
      2, "keys are site, data, listen, links, limits, groups", "site: a\ncolour: b\n"),
    BadConfiguration(3, "duplicate key 'site', first on line 1", "site: a\ndata: b\nsite: c\n"),
    BadConfiguration(1, "not a name", "site: a/b\ndata: b\nlisten: {}\ngroups: []\n"),
    BadConfiguration(1, "not a list", "site: [a]\ndata: b\nlisten: {}\ngroups: []\n"),
    BadConfiguration(2, "not nothing", "site: a\ndata:\nlisten: {}\ngroups: []\n"),
    BadConfiguration(2, "path of 1", "site: a\ndata: \"\"\nlisten: {}\ngroups: []\n"),
    BadConfiguration(2, "path of 1", "site: a\ndata: \"a\\0b\"\nlisten: {}\ngroups: []\n"),
    BadConfiguration(4, "needs a list, not nothing", "site: a\ndata: b\nlisten: {}\ngroups:\n"),
    BadConfiguration(4, "needs a list, not a mapping", "site: a\ndata: b\nlisten: {}\ngroups: {}"),
  ]

  static let listeners = [
    BadConfiguration.listen("needs a list", "nbd: \"unix:/s\""),
    .listen("not an address", "nbd: [\"/s\"]"),
    .listen("107 bytes", "link: \"unix:\(String(repeating: "p", count: 108))\""),
    .listen("no port", "link: \"tcp:host\""),
    .listen("0 to 65535", "link: \"tcp:host:65536\""),
    .listen("brackets", "link: \"tcp:::1:80\""),
    .listen("single value", "control: {}"),
    .listen("two listeners", "link: \"tcp:h:1\", control: \"tcp:h:1\""),
    .listen("two listeners", "nbd: [\"unix:/s\", \"unix:/s\"]"),
    .listen("another port", "nbd: [\"tcp:h:0\", \"tcp:g:0\", \"tcp:h:0\"]"),
    .listen("'address' of an NBD listener", "nbd: [{tls: off}]"),
    .listen("unknown tls", "nbd: [{address: \"unix:/s\", tls: maybe, keys: /k}]"),
    .listen("needs 'certificates'", "nbd: [{address: \"unix:/s\", tls: required}]"),
    .listen("either", "nbd: [{address: \"unix:/s\", tls: required, keys: /k, certificates: /c}]"),
    .listen("verify_clients", "nbd: [{address: \"unix:/s\", keys: /k, verify_clients: true}]"),
    .listen(
      "true or false",
      "nbd: [{address: \"unix:/s\", certificates: /k, verify_clients: perhaps}]"),
    .listen("did you mean 'control'", "contrl: \"unix:/c\""),
  ]

  static let limits = [
    BadConfiguration.limits("a mapping of keys", "1024"),
    .limits("did you mean 'connections'", "{conections: 5}"),
    .limits("a number from 1 to 65536, not '0'", "{connections: 0}"),
    .limits("a number from 1 to 65536", "{connections_per_disk: 1K}"),
    .limits("a number from 1 to 65536", "{requests: 65537}"),
    .limits("between 1M and 1G, not 1000", "{bytes: 1000}"),
    .limits("between 100ms and 1h, not 0s", "{handshake: 0s}"),
    .limits("needs a duration", "{handshake: 10}"),
  ]

  static let groups = [
    BadConfiguration.group(6, "did you mean 'history'", "histroy: 1s"),
    .group(6, "unit", "history: 10"),
    .group(6, "unknown unit 'min'", "history: 10min"),
    .group(6, "at most 3650d", "history: 4000d"),
    .group(6, "duration", "history: -1s"),
    .group(6, "cannot be 0", "apply_every: 0s"),
    .group(6, "duration", "checkpoint_every: never"),
    .group(6, "unknown mode 'asink'", "mode: asink"),
    .group(7, "duplicate key 'role'", "role: recovery"),
    .group(6, "mapping", "peer: west"),
    .group(6, "'address'", "peer: {site: west}"),
    .group(6, "'site' of peer", "peer: {address: \"tcp:h:1\"}"),
    .group(6, "itself", "peer: {site: east, address: \"tcp:h:1\"}"),
    .group(6, "port", "peer: {site: west, address: \"tcp:h:0\"}"),
    .group(6, "needs a size", "journal: {capacity: lots}"),
    .group(6, "fraction", "journal: {capacity: 1.5G}"),
    .group(6, "needs 4 segments", "journal: {capacity: 255M}"),
    .group(8, "needs 4 segments", "journal:\n    on_full: block\n    capacity: 1M"),
    .group(6, "at most", "journal: {capacity: 1024T, segment_size: 64K}"),
    .group(6, "power of two", "journal: {segment_size: 96K}"),
    .group(6, "between 64K and 1G", "journal: {segment_size: 32K}"),
    .group(6, "between 64K and 1G", "journal: {segment_size: 2G}"),
    .group(6, "block, throttle, degrade", "journal: {on_full: panic}"),
    .group(6, "needs a size", "journal: {view_scratch: some}"),
    .group(6, "unknown key 'sync_every'", "journal: {sync_every: 1s}"),
    .group(6, "too large", "journal: {capacity: 99999999999T}"),
    BadConfiguration(
      4, "unknown role 'primary'",
      "site: a\ndata: b\nlisten: {}\ngroups: [{name: g, role: primary, disks: []}]\n"),
    BadConfiguration(
      4, "'role' of a group", "site: a\ndata: b\nlisten: {}\ngroups: [{name: g, disks: []}]\n"),
    BadConfiguration(
      6, "needs 'link' under 'listen'",
      "site: a\ndata: b\nlisten: {}\ngroups:\n- name: g\n  role: recovery\n  disks: []\n"),
    BadConfiguration(
      5, "needs 'peer'",
      """
      site: a
      data: b
      listen: {link: "tcp:h:1"}
      groups:
      - name: g
        role: recovery
        disks: [{name: d, backing: "file:/f"}]
      """),
    .group(6, "needs 'address'", "peers: [{site: w}]"),
    .links(4, "goes with 'tls: off'", "{insecure: true}"),
    .links(4, "unknown", "{tls: maybe}"),
    .links(3, "add 'insecure: true' to 'links'", "{tls: off}"),
    .group(
      6, "two peers of a group are named 'w'",
      #"peers: [{site: w, address: "tcp:w:1"}, {site: w, address: "tcp:w:2"}]"#),
    .group(
      6, "two peers of a group have the address tcp:w:1",
      #"peers: [{site: w, address: "tcp:w:1"}, {site: s, address: "tcp:w:1"}]"#),
    .group(
      7, "give one of the two",
      "peer: {site: w, address: \"tcp:w:1\"}\n  peers: [{site: s, address: \"tcp:s:1\"}]"),
    BadConfiguration(
      6, "two groups are named 'g', the first on line 5",
      """
      site: a
      data: b
      listen: {}
      groups:
      - {name: g, role: protected, disks: [{name: d, backing: "file:/f"}]}
      - {name: g, role: protected, disks: [{name: e, backing: "file:/e"}]}
      """),
    BadConfiguration(
      6, "two disks of the site are named 'd', the first on line 5",
      """
      site: a
      data: b
      listen: {}
      groups:
      - {name: g, role: protected, disks: [{name: d, backing: "file:/f"}]}
      - {name: h, role: protected, disks: [{name: d, backing: "file:/e"}]}
      """),
  ]

  static let disks = [
    BadConfiguration.disks(8, "protected group 'g' has no disks", "  []"),
    .disks(8, "'backing' of a disk is missing", "- {name: d}"),
    .disks(8, "'name' of a disk is missing", "- {backing: \"file:/f\"}"),
    .disks(8, "not a name", "- {name: \"d@x\", backing: \"file:/f\"}"),
    .disks(8, "unknown unit", "- {name: d, size: 20GB, backing: \"file:/f\"}"),
    .disks(8, "between 1 and", "- {name: d, size: 0, backing: \"file:/f\"}"),
    .disks(8, "not nothing", "- {name: d, size: , backing: \"file:/f\"}"),
    .disks(8, "not a backing store", "- {name: d, backing: /f}"),
    .disks(8, "not a backing store", "- {name: d, backing: \"http://h/f\"}"),
    .disks(8, "path has 1", "- {name: d, backing: \"file:\"}"),
    .disks(8, "names no host", "- {name: d, backing: \"nbd:///x\"}"),
    .disks(8, "socket=PATH", "- {name: d, backing: \"nbd+unix:///x\"}"),
    .disks(8, "unknown key 'siz'", "- {name: d, siz: 1, backing: \"file:/f\"}"),
    .disks(
      9, "the first on line 8",
      "- {name: d, backing: \"file:/f\"}\n  - {name: d, backing: \"file:/e\"}"),
    .disks(
      9, "the backing store file:/f, the first on line 8",
      "- {name: d, backing: \"file:/f\"}\n  - {name: e, backing: \"file:/f\"}"),
  ]

  @Test(arguments: texts + listeners + limits + groups + disks)
  func isRefusedWithItsLine(bad: BadConfiguration) throws {
    let error = try #require(failure(bad.yaml.utf8))
    #expect(error.line == bad.line)
    #expect(error.reason.contains(bad.reason), "\(error)")
    #expect(error.description == "site.yaml:\(error.line ?? 0): \(error.reason)")
    #expect(!error.description.contains("\n"))
  }

  @Test func namesTheLineOfInvalidUTF8() throws {
    let error = try #require(failure(Array("site: a\ndata: ".utf8) + [0xc3, 0x28, 0x0a]))
    #expect(error.line == 2)
    #expect(error.reason.contains("UTF-8"))
  }

  @Test func refusesTooManyNodesAndTooManyBytes() throws {
    let many = "site: [" + String(repeating: "a,", count: ConfigurationLimits.yamlNodes) + "]"
    let nodes = try #require(failure(many.utf8))
    #expect(nodes.line == 1)
    #expect(nodes.reason.contains("nodes"))
    let large = "# " + String(repeating: "x", count: ConfigurationLimits.fileBytes)
    let bytes = try #require(failure(large.utf8))
    #expect(bytes.reason.contains("bytes"))
  }

  @Test func survivesEveryTruncationOfAGoodFile() {
    let good = Array(SiteConfigurationTests.example.utf8)
    for count in 0..<good.count - 120 {
      #expect(failure(good[..<count]) != nil)
    }
  }

  @Test(arguments: UInt64(1)...8) func survivesRandomDamage(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let good = Array(SiteConfigurationTests.example.utf8)
    var refused = 0
    for _ in 0..<500 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(
          in: 0...255, using: &generator)
      }
      // Damage can add a line at each of the four places.
      if let error = failure(bytes) {
        refused += 1
        #expect(error.line.map { (1...23).contains($0) } ?? false, "\(error)")
      }
    }
    #expect(refused > 0)
  }

  @Test(arguments: [
    ("missing", "No such file"), (".", "directory"), ("huge", "more than"), ("binary", "UTF-8"),
  ])
  func refusesAFileThatCannotBeRead(name: String, reason: String) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data(count: ConfigurationLimits.fileBytes + 1).write(to: folder.appending(path: "huge"))
    try Data([0xff]).write(to: folder.appending(path: "binary"))
    let path = folder.path + "/" + name
    do throws(ConfigurationError) {
      _ = try SiteConfiguration.load(path: path)
      Issue.record("\(path) was read")
    } catch {
      #expect(error.file == path)
      #expect(error.reason.contains(reason))
      #expect(error.description.hasPrefix(path + ":"))
    }
  }
}
