import Foundation
import TestSupport
import Testing

/// Proves that a client that breaks the protocol, or itself, loses its own connection and harms
/// nobody else.
@Suite(.scratch) struct BrokenPeerTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let bytes: [UInt8]
    /// Whether the server must close the connection; otherwise the client leaves.
    let isClosed: Bool
  }

  private static let fixedNewstyleNoZeroes: [UInt8] = [0, 0, 0, 3]

  private static func bigEndian(_ values: UInt32...) -> [UInt8] {
    values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
  }

  private static func option(_ code: UInt32, length: UInt32, _ data: [UInt8]) -> [UInt8] {
    fixedNewstyleNoZeroes + Array("IHAVEOPT".utf8) + bigEndian(code, length) + data
  }

  private static func request(_ bytes: [UInt8]) -> [UInt8] {
    option(1, length: 4, Array("disk".utf8)) + bytes
  }

  static let cases: [Case] = [
    Case(testDescription: "nothing", bytes: [], isClosed: false),
    Case(testDescription: "HTTP", bytes: Array("GET / HTTP/1.1\r\n\r\n".utf8), isClosed: true),
    Case(
      testDescription: "client flags that do not exist", bytes: bigEndian(0xffff_ffff),
      isClosed: true),
    Case(
      testDescription: "an option with a wrong magic",
      bytes: fixedNewstyleNoZeroes + Array("IHAVEOPS".utf8) + bigEndian(7, 0), isClosed: true),
    Case(
      testDescription: "an option of 4 GiB", bytes: option(7, length: .max, []), isClosed: true),
    Case(
      testDescription: "half an option",
      bytes: fixedNewstyleNoZeroes + Array("IHAVE".utf8), isClosed: false),
    Case(
      testDescription: "EXPORT_NAME of a disk that is not there",
      bytes: option(1, length: 4, Array("none".utf8)), isClosed: true),
    Case(
      testDescription: "a request with a wrong magic",
      bytes: request(bigEndian(0x2560_9514) + [UInt8](repeating: 0, count: 24)), isClosed: true),
    Case(
      testDescription: "half a request", bytes: request(bigEndian(0x2560_9513)), isClosed: false),
    Case(
      testDescription: "a write without its payload",
      bytes: request(bigEndian(0x2560_9513, 1, 0, 1, 0, 0, 4096)), isClosed: false),
    Case(
      testDescription: "a write of 4 GiB",
      bytes: request(bigEndian(0x2560_9513, 1, 0, 1, 0, 0, .max)), isClosed: false),
  ]

  @Test(arguments: cases)
  func `harms nobody else`(broken: Case) throws {
    let single = try SingleSite(size: 1 << 20)
    let witness = try single.site.connect("disk")
    try witness.write([1, 2, 3], at: 4000)

    var connection: RawConnection? = try RawConnection(unix: single.site.socket)
    let greeting = try #require(try connection?.receive(18))
    #expect(greeting.prefix(16) == Array("NBDMAGICIHAVEOPT".utf8)[...])
    connection?.send(broken.bytes)
    if broken.isClosed { #expect(try connection?.isClosedByPeer() == true) }
    connection = nil

    #expect(try witness.read(at: 4000, count: 3) == [1, 2, 3])
    let newcomer = try single.site.connect("disk")
    try newcomer.write([4], at: 4001)
    #expect(try witness.read(at: 4000, count: 3) == [1, 4, 3])
    #expect(try witness.read(at: 0, count: 10) == [UInt8](repeating: 0, count: 10))
  }

  @Test func `an unknown command is refused with EINVAL and the connection lives on`() throws {
    let single = try SingleSite(size: 1 << 20)
    let connection = try RawConnection(unix: single.site.socket)
    _ = try connection.receive(18)
    connection.send(Self.request(Self.bigEndian(0x2560_9513, 999, 0, 77, 0, 0, 0)))
    // Size and flags of the export, then the simple reply: magic, error 22, cookie.
    let answer = try connection.receive(10 + 16)
    #expect(Array(answer.dropFirst(10)) == Self.bigEndian(0x6744_6698, 22, 0, 77))
    connection.send(Self.bigEndian(0x2560_9513, 0, 0, 78, 0, 0, 2))
    #expect(try connection.receive(18) == Self.bigEndian(0x6744_6698, 0, 0, 78) + [0, 0])
  }

  @Test(.requires("qemu-img"))
  func `clients that vanish in the middle of writes harm nobody else`() throws {
    let single = try SingleSite { try $0.addDisk("other", size: 8 << 20, role: .protected) }
    let history = WriteHistory(sectors: 16384)
    let load = WriteLoad(single.uri, history: history)
    for round in 0..<testRounds(5) {
      let client = try ChildProcess(
        "qemu-img",
        [
          "bench", "-w", "-f", "raw", "-c", "100000000", "-d", "32", "-s", "4096",
          single.site.uri("other"),
        ])
      try load.makeProgress(50 + 20 * round)
      client.kill()
      try client.wait()
    }
    try load.makeProgress(50)
    try load.stop()
    #expect(load.failure == nil)
    #expect(history.violations(in: try single.site.image("disk")) == [])
  }

  @Test(.requires("qemu-io"), arguments: ["none", "disk/", "Disk", "disk@", "disk@yesterday", ""])
  func `an export that is not there is refused`(name: String) throws {
    let single = try SingleSite(size: 1 << 20) {
      // With two disks there is no default export.
      try $0.addDisk("second", size: 1 << 20, role: .protected)
    }
    let io = try run("qemu-io", ["-r", "-f", "raw", "-c", "quit", single.site.uri(name)])
    #expect(io.status != 0)
    #expect(try single.site.connect("disk").size == 1 << 20)
  }
}
