import Foundation
import TestSupport
import Testing

/// Proves that a disk may be made larger between two starts of its site, and keeps its contents and
/// its history; that it cannot be made smaller; and that whatever a growth has done when the site
/// dies, the next start goes on with the new size, or with the old one, or says what is wrong.
@Suite(.scratch) struct GrowingTests {
  private func resize(_ single: SingleSite, to size: Int) throws {
    #expect(unsafe truncate(single.site.rawFile("disk"), size) == 0)
    single.site.setSize(size)
  }

  @Test func `a disk that grew has its old bytes, zeros behind them, and its history`() throws {
    let single = try SingleSite(size: 1 << 20, history: "1h")
    let client = try single.site.connect("disk")
    try client.write([1, 2, 3], at: (1 << 20) - 3)
    try single.site.crash()
    try resize(single, to: 3 << 20)
    try single.site.start()
    let before = quietInstant()
    let grown = try single.site.connect("disk")
    #expect(grown.size == 3 << 20)
    try grown.write([4], at: (3 << 20) - 1)
    var expected = [UInt8](repeating: 0, count: 3 << 20)
    expected.replaceSubrange((1 << 20) - 3..<1 << 20, with: [1, 2, 3])
    #expect(difference(try single.site.image("disk@\(rfc3339(before))"), expected) == nil)
    expected[(3 << 20) - 1] = 4
    #expect(difference(try single.site.image("disk"), expected) == nil)
  }

  /// What a growth from 1 MiB to 3 MiB may leave behind, and what the next start is told.
  struct Remains: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// MiB: in the state file, of the raw file, in the configuration.
    let known: Int
    let file: Int
    let configured: Int
    /// Nil: it starts.
    var refusal: String?
  }

  static let remains = [
    Remains(testDescription: "nothing was done yet", known: 1, file: 1, configured: 3),
    Remains(testDescription: "the file was extended", known: 1, file: 3, configured: 3),
    Remains(testDescription: "all was done", known: 3, file: 3, configured: 3),
    Remains(
      testDescription: "the configuration was set back before all", known: 1, file: 1,
      configured: 1),
    Remains(
      testDescription: "the configuration was set back, the file was extended", known: 1, file: 3,
      configured: 1, refusal: "size is 3M, configuration says 1M"),
    Remains(
      testDescription: "the configuration was set back, all was done", known: 3, file: 3,
      configured: 1, refusal: "it has 3M, and a disk cannot be made smaller"),
    Remains(
      testDescription: "the file was cut off afterwards", known: 3, file: 1, configured: 3,
      refusal: "size is 1M, configuration says 3M"),
    Remains(
      testDescription: "file and configuration were set back", known: 3, file: 1, configured: 1,
      refusal: "it has 3M, and a disk cannot be made smaller"),
  ]

  @Test(arguments: remains, [true, false])
  func `a start after a growth that broke off`(remains: Remains, afterCrash: Bool) throws {
    let single = try SingleSite(size: 1 << 20, history: "1h")
    let site = single.site
    try site.connect("disk").write([1, 2, 3], at: (1 << 20) - 3)
    if remains.known > 1 {
      try site.grow(to: remains.known << 20)
      // A record that needs the new size.
      try site.connect("disk").write([4], at: UInt64(remains.known << 20) - 1)
    }
    if afterCrash { try site.crash() } else { try site.stop() }
    #expect(unsafe truncate(site.rawFile("disk"), remains.file << 20) == 0)
    site.setSize(remains.configured << 20)
    if let refusal = remains.refusal {
      let daemon = try site.launch()
      #expect(try daemon.wait() == .exited(1))
      #expect(daemon.stderr.contains("\(site.configurationFile):"), "\(daemon.stderr)")
      #expect(daemon.stderr.contains(refusal), "\(daemon.stderr)")
      guard remains.file == remains.known || remains.known == 1 else { return }
      // Nothing was lost by the attempt.
      site.setSize(remains.file << 20)
    }
    try site.start()
    let client = try site.connect("disk")
    let size = max(remains.known, remains.refusal == nil ? remains.configured : remains.file) << 20
    #expect(client.size == size)
    var expected = [UInt8](repeating: 0, count: size)
    expected.replaceSubrange((1 << 20) - 3..<1 << 20, with: [1, 2, 3])
    if remains.known > 1 { expected[size - 1] = 4 }
    #expect(difference(try site.image("disk"), expected) == nil)
    try client.write([5], at: UInt64(size) - 1)
  }

  @Test func `tools that look into the journal's folder know the new size`() throws {
    let single = try SingleSite(size: 1 << 20, history: "1h")
    let site = single.site
    try site.connect("disk").write([1], at: 0)
    try site.grow(to: 3 << 20)
    try site.connect("disk").write([2], at: (3 << 20) - 1)
    let image = try site.image("disk")
    try site.crash()
    let folder = try TaplineContract.journalDirectory(group: "g", site: site.configuration)
    try site.tapline(TaplineContract.journal("verify", folder)).checked()
    let copy = site.scratch.file("export.raw")
    try site.tapline(
      TaplineContract.journal(
        "export", folder, "--disk", "disk", "--base", site.rawFile("disk"), "--to", copy)
    ).checked()
    let bytes = [UInt8](try Data(contentsOf: URL(filePath: copy)))
    #expect(difference(bytes, image) == nil)
  }

  @Test func `both sites go on after their disks grew`() throws {
    let pair = try SitePair(disks: ["disk": 1 << 20])
    try pair.east.connect("disk").write([1, 2, 3], at: 0)
    try pair.drain()
    try pair.east.stop()
    try pair.west.stop()
    for site in [pair.east, pair.west] {
      #expect(unsafe truncate(site.rawFile("disk"), 2 << 20) == 0)
      site.setSize(2 << 20)
    }
    try pair.start()
    let client = try pair.east.connect("disk")
    try client.write([4], at: (2 << 20) - 1)
    try pair.drain()
    let view = try pair.west.connect("disk@latest")
    #expect(try view.read(at: 0, count: 3) == [1, 2, 3])
    #expect(try view.read(at: (2 << 20) - 1, count: 1) == [4])
  }
}
