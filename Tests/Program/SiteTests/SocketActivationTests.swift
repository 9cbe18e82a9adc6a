import Foundation
import TestSupport
import Testing

/// Proves that a site serves the sockets that whoever starts it has opened: libnbd, which starts
/// servers so, and systemd's own activator.
@Suite(.scratch) struct SocketActivationTests {
  private static let size = 8 << 20

  /// A site with one disk, not started, and the command that starts it.
  private func site() throws -> (site: Site, command: [String]) {
    let site = try Site("east", in: try ScratchDirectory())
    try site.addDisk("disk", size: Self.size, role: .protected)
    try site.configuration.yaml.write(
      toFile: site.configurationFile, atomically: false, encoding: .utf8)
    return (site, [try TaplineBinary.path()] + TaplineContract.site(site.configurationFile))
  }

  @Test(.requires("nbdinfo")) func `nbdinfo starts a site and asks it`() throws {
    let (_, command) = try site()
    let seen = try run("nbdinfo", ["--size", "--", "["] + command + ["]"]).checked()
    // Nothing but the answer is on standard output.
    #expect(seen.stdout == "\(Self.size)\n")
    #expect(seen.stderr.contains("ready"))
  }

  @Test(.requires("nbdcopy")) func `nbdcopy writes to a site that it starts, and reads it`() throws
  {
    let (site, command) = try site()
    var generator = SeededGenerator(seed: testSeed(1))
    let image = generator.bytes(Self.size)
    let source = try site.scratch.write(image, to: "source")
    try run("nbdcopy", ["--", source, "["] + command + ["]"]).checked()
    // The site has stopped cleanly: its file alone is the disk.
    #expect(try Data(contentsOf: URL(filePath: site.rawFile("disk"))).elementsEqual(image))
    let copy = site.scratch.file("copy")
    try run("nbdcopy", ["--", "["] + command + ["]", copy]).checked()
    #expect(try Data(contentsOf: URL(filePath: copy)).elementsEqual(image))
  }

  /// Starts a site by way of systemd-socket-activate, which begins when somebody connects; so it
  /// has begun when this returns.
  private func activate(
    _ site: Site, _ command: [String], listen: [String], names: String?
  ) throws -> ChildProcess {
    let addresses = listen.flatMap { ["-l", $0] }
    let names = names.map { ["--fdname", $0] } ?? []
    let activator = try ChildProcess(
      "systemd-socket-activate", addresses + names + command, name: "activated",
      logs: site.scratch)
    try eventually("the activator listens") {
      listen.allSatisfy(RawConnection.isListening(unix:))
    }
    return activator
  }

  @Test(.requires("systemd-socket-activate"))
  func `sockets with the addresses of listeners are theirs, and stay`() throws {
    let (site, command) = try site()
    let control = String(site.configuration.control.dropFirst("unix:".count))
    let process = try activate(site, command, listen: [control, site.socket], names: nil)
    let client = try site.connect("disk")
    try client.write([1, 2, 3], at: 5)
    #expect(try site.status().first("site")?.string == "east")
    #expect(try process.terminate() == .exited(0))
    // They are the activator's to remove.
    #expect(FileManager.default.fileExists(atPath: site.socket))
    #expect(FileManager.default.fileExists(atPath: control))
  }

  @Test(.requires("systemd-socket-activate"))
  func `a socket is told by its name when its address is another`() throws {
    let (site, command) = try site()
    let (data, control) = (
      try site.scratch.socket("named.sock"), try site.scratch.socket("named.ctl")
    )
    let process = try activate(site, command, listen: [data, control], names: "nbd:control")
    try NBDClient("nbd+unix:///disk?socket=\(data)").write([1], at: 0)
    site.configuration.control = "unix:\(control)"
    #expect(try site.counter("connections") == 0)
    #expect(!FileManager.default.fileExists(atPath: site.socket))
    #expect(try process.terminate() == .exited(0))
  }

  @Test(.requires("systemd-socket-activate"))
  func `a socket that fits no listener is refused with what there is`() throws {
    let (site, command) = try site()
    let stray = try site.scratch.socket("stray.sock")
    let process = try activate(site, command, listen: [stray], names: "web")
    #expect(try process.wait() == .exited(1))
    #expect(process.stderr.contains("named 'web', fits no listener"), "\(process.stderr)")
    #expect(process.stderr.contains("nbd unix:\(site.socket)"))
  }

  @Test(.requires("systemd-socket-activate"))
  func `a socket that is taken over from an activated site stays, too`() throws {
    let (site, command) = try site()
    let control = String(site.configuration.control.dropFirst("unix:".count))
    let process = try activate(site, command, listen: [site.socket, control], names: nil)
    let client = try site.connect("disk")
    try client.write([9], at: 0)
    try site.takeOver()
    #expect(try process.wait() == .exited(0))
    #expect(try client.read(at: 0, count: 1) == [9])
    try site.stop()
    #expect(FileManager.default.fileExists(atPath: site.socket))
  }

  @Test func `a service manager is told when the site serves`() throws {
    let (site, command) = try site()
    let path = try site.scratch.socket("notify.sock")
    let inbox = try DatagramInbox(path)
    let process = try ChildProcess(
      command[0], Array(command.dropFirst()), name: "notifying", logs: site.scratch,
      environment: ["NOTIFY_SOCKET": path])
    #expect(try inbox.receive() == "READY=1")
    #expect(RawConnection.isListening(unix: site.socket))
    #expect(try process.terminate() == .exited(0))
    #expect(try inbox.receive() == "STOPPING=1")
  }
}

/// A datagram socket that is sent to.
private final class DatagramInbox {
  private let descriptor: Int32

  init(_ path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let descriptor = descriptor
    let result = unsafe withUnixAddress(path) { unsafe bind(descriptor, $0, $1) }
    guard result == 0 else { throw RigError("cannot bind \(path): \(errno)") }
  }

  deinit { close(descriptor) }

  func receive(within limit: Int32 = 20) throws -> String {
    var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&poller, 1, limit * 1000) > 0 else { throw RigError("nothing was sent") }
    var bytes = [UInt8](repeating: 0, count: 1024)
    let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }
}
