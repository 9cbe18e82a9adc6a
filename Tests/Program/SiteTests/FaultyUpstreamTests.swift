import Foundation
import TestSupport
import Testing

/// Proves that a bad server behind a disk loses nothing that is in the journal: what it cannot
/// read is EIO for the guest and a line in the log, what it does not take waits, and what servers
/// may lack or demand makes no difference.
@Suite(.scratch, .requires("nbdkit")) struct FaultyUpstreamTests {
  private static let size = 8 << 20

  /// A site whose disk lies behind nbdkit. `fail` makes the filter `error` fail requests.
  private struct Scene {
    let scratch: ScratchDirectory
    let site: Site
    let upstream: Upstream
    let file: String
    let switchFile: String

    init(
      filters: [String] = [], plugin: [String] = ["file", "FILE"], parameters: [String] = [],
      history: String = "0s"
    ) throws {
      scratch = try ScratchDirectory()
      file = try scratch.sparseFile("upstream.raw", size: FaultyUpstreamTests.size)
      switchFile = scratch.file("fail")
      let arguments = filters.map { "--filter=\($0)" } + plugin + parameters
      let (path, switchPath) = (file, switchFile)
      upstream = try Upstream(
        arguments.map { $0.replacing("SWITCH", with: switchPath).replacing("FILE", with: path) },
        in: scratch)
      site = try Site("east", in: scratch)
      site.addDisk(
        "disk", size: FaultyUpstreamTests.size, backing: upstream.uri, role: .protected)
      site.configuration.groups[0].history = history
      try site.start()
    }

    func fail() throws { try Data().write(to: URL(filePath: switchFile)) }
    func heal() throws { try FileManager.default.removeItem(atPath: switchFile) }

    func applyAll() throws {
      try eventually("everything is applied") {
        try site.counter("applied") >= site.counter("stamped")
      }
    }

    var upstreamImage: [UInt8] {
      get throws { [UInt8](try Data(contentsOf: URL(filePath: file))) }
    }
  }

  private static func errors(_ request: String, _ errno: String = "EIO") -> [String] {
    ["error-\(request)=\(errno)", "error-\(request)-rate=100%", "error-\(request)-file=SWITCH"]
  }

  @Test func `what cannot be read is EIO, and what the journal holds is read`() throws {
    let scene = try Scene(
      filters: ["error"], parameters: Self.errors("pread"), history: "1h")
    let client = try scene.site.connect("disk")
    let bytes = [UInt8](repeating: 7, count: 65536)
    try client.write(bytes, at: 65536)
    try scene.fail()
    let failure = #expect(throws: NBDClient.Failure.self) {
      _ = try client.read(at: 1 << 20, count: 4096)
    }
    #expect(failure?.errno == EIO)
    #expect(try client.read(at: 65536, count: 65536) == bytes)
    // Half of it is in the journal.
    #expect(throws: NBDClient.Failure.self) { try client.read(at: 0, count: 131072) }
    try client.write(bytes, at: 0)
    #expect(try client.read(at: 0, count: 131072) == bytes + bytes)
    try scene.heal()
    #expect(try client.read(at: 1 << 20, count: 2) == [0, 0])
    let lines = scene.site.log.split(separator: "\n").filter { $0.contains("read at 1048576") }
    #expect(lines.count == 1 && lines[0].contains(scene.upstream.uri), "\(scene.site.log)")
  }

  /// A server of shell commands, whose FLUSH fails on demand.
  private static let shell = [
    "eval", "get_size=stat -c %s FILE", "can_write=exit 0", "can_flush=exit 0",
    "pread=dd if=FILE bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none",
    "pwrite=dd of=FILE bs=64K oflag=seek_bytes conv=notrunc seek=$4 status=none",
    "flush=if [ -e SWITCH ]; then echo EIO broken >&2; exit 1; fi",
  ]

  struct Fault: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var filters: [String] = []
    var plugin = ["file", "FILE"]
    var parameters: [String] = []
    /// What the log must say beside the operation.
    let words: String
  }

  static let faults = [
    Fault(
      testDescription: "writes fail", filters: ["error"],
      parameters: errors("pwrite") + errors("zero"), words: "Input/output error"),
    Fault(
      testDescription: "the server's disk is full", filters: ["error"],
      parameters: errors("pwrite", "ENOSPC") + errors("zero", "ENOSPC"), words: "no space left"),
    Fault(
      testDescription: "the server forbids writing", filters: ["error"],
      parameters: errors("pwrite", "EPERM") + errors("zero", "EPERM"),
      words: "Operation not permitted"),
    Fault(testDescription: "flushes fail", plugin: shell, words: "sync"),
  ]

  @Test(arguments: faults, [false, true])
  func `what is not taken waits in the journal until it is`(fault: Fault, crash: Bool) throws {
    let scene = try Scene(
      filters: fault.filters, plugin: fault.plugin, parameters: fault.parameters)
    var expected = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(1))
    let client = try scene.site.connect("disk")
    try expected.drive(client, count: 30, maximumLength: 50_000, using: &generator)
    try scene.applyAll()
    try scene.fail()
    try expected.drive(client, count: 30, maximumLength: 50_000, using: &generator)
    try client.flush()
    try eventually("the log tells") {
      scene.site.log.split(separator: "\n").contains {
        $0.contains("apply is stopped") && $0.contains(fault.words)
          && $0.contains(scene.upstream.uri)
      }
    }
    #expect(difference(try scene.site.image("disk"), expected.image()) == nil)
    #expect(try scene.site.counter("applied") < scene.site.counter("stamped"))

    if crash { try scene.site.crash() }
    try scene.heal()
    if crash { try scene.site.start() }
    #expect(difference(try scene.site.image("disk"), expected.image()) == nil)
    try scene.applyAll()
    try scene.site.stop()
    #expect(difference(try scene.upstreamImage, expected.image()) == nil)
  }

  @Test func `a server that comes and goes loses nothing`() throws {
    // Its cache is lost with it.
    let scene = try Scene(filters: ["cache"], parameters: ["cache=writeback"])
    var expected = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(2))
    let client = try scene.site.connect("disk")
    for _ in 0..<5 {
      try expected.drive(client, count: 20, maximumLength: 50_000, using: &generator)
      try scene.upstream.kill()
      try expected.drive(client, count: 20, maximumLength: 50_000, using: &generator)
      try scene.upstream.start()
    }
    try scene.applyAll()
    #expect(difference(try scene.site.image("disk"), expected.image()) == nil)
    try scene.site.stop()
    try scene.upstream.stop()
    #expect(difference(try scene.upstreamImage, expected.image()) == nil)
  }

  @Test func `a slow server does not slow writes`() throws {
    let scene = try Scene(
      filters: ["delay"], parameters: ["wdelay=50ms", "rdelay=2ms"], history: "1h")
    let client = try scene.site.connect("disk")
    let reading = try NBDClient(scene.site.uri("disk"))
    // Many requests, of which each would take the server 50 ms.
    let history = WriteHistory(sectors: Self.size / TaggedSectors.size)
    let load = WriteLoad(scene.site.uri("disk"), history: history, shape: WriteLoad.Shape())
    try load.makeProgress(200)
    #expect(try reading.read(at: UInt64(Self.size - 4096), count: 4096).count == 4096)
    try load.stop()
    #expect(load.failure == nil)
    #expect(history.violations(in: try scene.site.image("disk")) == [])
    try client.flush()
    try scene.site.stop()
  }

  struct Kind: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let filters: [String]
    let parameters: [String]
  }

  static let kinds = [
    Kind(testDescription: "as it is", filters: [], parameters: []),
    Kind(
      testDescription: "blocks of 4 KiB, at most 64 KiB", filters: ["blocksize-policy"],
      parameters: [
        "blocksize-minimum=4096", "blocksize-preferred=65536", "blocksize-maximum=65536",
        "blocksize-error-policy=error",
      ]),
    Kind(
      testDescription: "blocks made by a filter", filters: ["blocksize"],
      parameters: ["minblock=4096", "maxdata=64K", "maxlen=1M"]),
    Kind(testDescription: "no zeroing", filters: ["nozero"], parameters: []),
    Kind(
      testDescription: "zeroing emulated", filters: ["nozero"], parameters: ["zeromode=emulate"]),
    Kind(testDescription: "FUA emulated", filters: ["fua"], parameters: ["fuamode=emulate"]),
    Kind(testDescription: "no FUA", filters: ["fua"], parameters: []),
    Kind(
      testDescription: "one connection", filters: ["multi-conn"],
      parameters: ["multi-conn-mode=disable"]),
    Kind(testDescription: "one request at a time", filters: ["noparallel"], parameters: []),
    Kind(testDescription: "no block status", filters: ["noextents"], parameters: []),
    Kind(testDescription: "a volatile cache", filters: ["cache"], parameters: ["cache=writeback"]),
    Kind(testDescription: "reading ahead", filters: ["readahead"], parameters: []),
    Kind(testDescription: "retrying", filters: ["retry"], parameters: []),
    Kind(
      testDescription: "a checkerboard of filters",
      filters: ["noparallel", "nozero", "noextents", "fua"],
      parameters: []),
  ]

  @Test(arguments: kinds) func `a server may lack or demand much`(kind: Kind) throws {
    let scene = try Scene(filters: kind.filters, parameters: kind.parameters)
    var expected = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(3))
    let client = try scene.site.connect("disk")
    for _ in 0..<3 {
      try expected.drive(client, count: 20, maximumLength: 100_000, using: &generator)
      try client.trim(at: 1 << 20, count: 100_000)
      expected.append(.zero(100_000), at: 1 << 20)
      try scene.applyAll()
    }
    #expect(difference(try scene.site.image("disk"), expected.image()) == nil)
    try scene.site.stop()
    try scene.upstream.stop()
    #expect(difference(try scene.upstreamImage, expected.image()) == nil)
  }

  @Test func `a server that leaves with its last client stays as long as the site`() throws {
    let scene = try Scene(filters: ["exitlast"])
    for number in 1...3 {
      let client = try scene.site.connect("disk")
      try client.write([UInt8(number)], at: UInt64(number))
      try scene.applyAll()
    }
    #expect(scene.upstream.isRunning)
    try scene.site.stop()
    try scene.upstream.waitForEnd()
    #expect(try scene.upstreamImage.prefix(5) == [0, 1, 2, 3, 0])
  }

  @Test(arguments: [(["-r"], "read-only"), ([], "size")])
  func `a server that is no backing store is refused with the reason`(
    options: [String], reason: String
  ) throws {
    let scratch = try ScratchDirectory()
    let upstream = try Upstream(options + ["memory", "4M"], in: scratch)
    let site = try Site("east", in: scratch)
    let size = options.isEmpty ? Self.size : 4 << 20
    site.addDisk("disk", size: size, backing: upstream.uri, role: .protected)
    let daemon = try site.launch()
    #expect(try daemon.wait() != .exited(0))
    #expect(site.log.contains(reason) && site.log.contains(upstream.uri), "\(site.log)")
  }
}
