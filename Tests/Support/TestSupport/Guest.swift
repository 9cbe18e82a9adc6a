import Foundation
import Synchronization

/// A virtual machine that boots from an NBD export and writes files when told to.
///
/// It runs under TCG, which needs no device and behaves alike everywhere. Its init is the workload
/// of `GuestDisk`: it waits for an order on the serial console, so a test can note an instant of
/// which it knows that nothing was being written.
public final class Guest: Sendable {
  /// What the guest's `/data` held once a step was synced.
  public struct Step: Sendable {
    public let number: Int
    /// An instant at which the guest had synced the step and not begun the next.
    public let instant: UInt64
    /// SHA-256 by path relative to `/data`.
    public let sums: [String: String]
  }

  private let qemu: ChildProcess
  private let socket: String
  private let export: String
  /// Of qemu's monitor.
  private let monitor: String
  private let commands = Atomic(0)
  private static let boots = Atomic(0)

  /// Boots, and returns when the workload waits for orders. Blocks for some three seconds.
  /// - Parameters:
  ///   - socket: path of the NBD server's unix socket.
  ///   - export: name of the export.
  ///   - more: further exports of the server, as further disks: /dev/vdb and so on.
  ///   - reconnectDelay: for how many seconds qemu holds requests when the connection is lost; when
  ///     nil, the guest gets errors at once.
  ///   - hasNetwork: the guest reaches this machine's loopback as 10.0.2.2.
  public init(
    kernel: GuestKernel, socket: String, export: String, more: [String] = [],
    hasNetwork: Bool = false, logs: ScratchDirectory, reconnectDelay: Int? = nil,
    within limit: Duration = hangLimit
  ) throws {
    self.socket = socket
    self.export = export
    // What one says is not taken for what another has said.
    let name = "guest-\(Self.boots.add(1, ordering: .relaxed).newValue)"
    monitor = try logs.socket("\(name).qmp")
    let reconnect = reconnectDelay.map { ",reconnect-delay=\($0)" } ?? ""
    let disks = ([export] + more).enumerated().flatMap { number, export in
      [
        "-blockdev",
        "driver=nbd,node-name=nbd\(number),server.type=unix,server.path=\(socket),"
          + "export=\(export),discard=unmap" + reconnect,
        "-blockdev", "driver=raw,node-name=disk\(number),file=nbd\(number),discard=unmap",
        "-device", "virtio-blk-pci,drive=disk\(number)",
      ]
    }
    let network =
      hasNetwork
      ? ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="] : []
    qemu = try ChildProcess(
      "qemu-system-x86_64",
      [
        "-accel", "tcg", "-cpu", "max", "-m", "128", "-smp", "1", "-nodefaults", "-no-reboot",
        "-display", "none", "-serial", "stdio", "-kernel", kernel.kernel, "-initrd", kernel.initrd,
        "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
        "-qmp", "unix:\(monitor),server=on,wait=off",
      ] + disks + network, name: name, logs: logs, takesInput: true)
    try qemu.waitForLine("GUEST ready", within: limit)
  }

  /// Has the guest write, overwrite, move and delete files and sync.
  public func step(_ number: Int, within limit: Duration = hangLimit) throws -> Step {
    try qemu.send("step\n")
    try qemu.waitForLine("STEP \(number) synced", within: limit)
    let prefix = "SUM \(number) "
    var sums: [String: String] = [:]
    for line in qemu.stdout.split(whereSeparator: \.isNewline) where line.hasPrefix(prefix) {
      let words = line.dropFirst(prefix.count).split(separator: " ")
      guard words.count == 2 else { throw RigError("guest said: \(line)") }
      sums[String(words[1])] = String(words[0])
    }
    return Step(number: number, instant: quietInstant(), sums: sums)
  }

  /// Has the guest overwrite and delete the files of all steps, again and again, and returns when
  /// it has done so `rounds` times; it goes on until it is killed.
  public func storm(rounds: Int, within limit: Duration = hangLimit) throws {
    try qemu.send("storm\n")
    try qemu.waitForLine("STORM \(rounds) done", within: limit)
  }

  /// Has the guest say how large its disk is, in bytes.
  public func diskSize(within limit: Duration = hangLimit) throws -> Int {
    func answers() -> [Substring] {
      // The last line may still be on its way.
      qemu.stdout.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).dropLast()
        .filter { $0.hasPrefix("SIZE ") }
    }
    let before = answers().count
    try qemu.send("size\n")
    try eventually("the guest tells its disk's size", within: limit) { answers().count > before }
    guard let line = answers().last, let sectors = Int(line.dropFirst("SIZE ".count)) else {
      throw RigError("guest said: \(console)")
    }
    return sectors * 512
  }

  /// Has the guest write `GUEST TAIL` to the last sector of its disk, durably.
  public func writeLastSector(within limit: Duration = hangLimit) throws {
    try qemu.send("tail\n")
    try qemu.waitForLine("TAIL written", within: limit)
  }

  /// Puts a new connection to the export in the place of the one that the disk has, while the guest
  /// runs, and tells the guest that its disk has `byteCount` bytes: as an administrator does with a
  /// disk that has grown.
  public func reconnectDisk(byteCount: Int) throws {
    let monitor = try GuestMonitor(monitor)
    let server = #"{"type":"unix","path":"\#(socket)"}"#
    let again = #""node-name":"nbd0-again","discard":"unmap""#
    try monitor.execute(
      "blockdev-add", #"{"driver":"nbd",\#(again),"server":\#(server),"export":"\#(export)"}"#)
    let disk = #""node-name":"disk0","discard":"unmap","file":"nbd0-again""#
    try monitor.execute("blockdev-reopen", #"{"options":[{"driver":"raw",\#(disk)}]}"#)
    try monitor.execute("block_resize", #"{"node-name":"disk0","size":\#(byteCount)}"#)
    try monitor.execute("blockdev-del", #"{"node-name":"nbd0"}"#)
  }

  /// Tells the guest that its disk has `byteCount` bytes; its connection must know that already.
  public func resizeDisk(byteCount: Int) throws {
    let monitor = try GuestMonitor(monitor)
    try monitor.execute("block_resize", #"{"node-name":"disk0","size":\#(byteCount)}"#)
  }

  /// Has the guest write a file, sync it, and read it back from the disk, again and again, until it
  /// is killed.
  public func exercise() throws { try qemu.send("exercise\n") }

  /// Waits until the guest has done that `rounds` more times.
  public func makeProgress(_ rounds: Int, within limit: Duration = hangLimit) throws {
    try qemu.waitForLine("EXERCISE \(roundsDone + rounds) done", within: limit)
  }

  private var roundsDone: Int {
    let lines = qemu.stdout.split(whereSeparator: \.isNewline)
    let last = lines.last { $0.hasPrefix("EXERCISE ") && $0.contains(" done") }
    return last.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
  }

  /// What the guest or its kernel found wrong since it booted.
  public var complaints: [String] {
    let lines = qemu.stdout.split(whereSeparator: \.isNewline)
    return lines.drop { !$0.contains("GUEST ready") }.map(String.init).filter { line in
      ["error", "fail", "differs", "corrupt"].contains { line.lowercased().contains($0) }
    }
  }

  /// Runs a command of the guest's shell and returns what it prints.
  /// - Throws: `RigError` with the output when it ends with another code than 0.
  @discardableResult
  public func run(_ command: String, within limit: Duration = hangLimit) throws -> String {
    let number = commands.add(1, ordering: .relaxed).newValue
    try qemu.send("run \(number) \(command)\n")
    let end = try qemu.waitForLine("RAN \(number) ", within: limit)
    let lines = qemu.stdout.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    let output = lines.drop { $0 != "RUN \(number)" }.dropFirst().prefix {
      !$0.contains("RAN \(number) ")
    }.joined(separator: "\n")
    guard end.hasSuffix("RAN \(number) 0") else {
      throw RigError("the guest's '\(command)' failed: \(end)\n\(output)")
    }
    return output
  }

  /// The virtual machine is gone at once, whatever it was writing.
  public func powerCut() throws {
    qemu.kill(SIGKILL)
    try qemu.wait()
  }

  /// What the guest printed.
  public var console: String { qemu.stdout }
}
