import Foundation
import TestSupport
import Testing

/// Proves that the definitions of docs/protect-a-vm.md are what libvirt takes, and that a machine
/// made of them runs, through an upgrade of its site; and, where libvirt tells qemu to wait for it,
/// through a restart.
///
/// `virt-qemu-run` is libvirt without its daemon. It runs in namespaces of its own, so that libvirt
/// does not want root's users and that nothing is left behind.
@Suite(.scratch, .serialized, .requires("virt-qemu-run", "qemu-system-x86_64", "mke2fs", "unshare"))
struct LibvirtTests {
  private static let size = 64 << 20

  /// Blocks of XML in the documentation, by what they begin with.
  private static func documented(_ start: String) throws -> String {
    let page = try String(contentsOfFile: projectRoot + "/docs/protect-a-vm.md", encoding: .utf8)
    let blocks = page.components(separatedBy: "```")
    let block = try #require(blocks.first { $0.hasPrefix("xml\n\(start)") }, "no \(start)")
    return String(block.dropFirst("xml\n".count))
      .replacingOccurrences(of: "type='kvm'", with: "type='qemu'")
  }

  /// What a definition has beside the disk.
  private static func rest(_ kernel: GuestKernel, console: String) -> (
    outside: String, devices: String
  ) {
    (
      """
        <name>shop</name>
        <memory unit='MiB'>128</memory>
        <os>
          <type arch='x86_64' machine='pc'>hvm</type>
          <kernel>\(kernel.kernel)</kernel>
          <initrd>\(kernel.initrd)</initrd>
          <cmdline>console=ttyS0 quiet panic=-1 mitigations=off</cmdline>
        </os>
        <cpu mode='maximum'/>
      """,
      """
          <emulator>\(Tool.find("qemu-system-x86_64") ?? "")</emulator>
          <serial type='unix'><source mode='bind' path='\(console)'/><target port='0'/></serial>
          <controller type='usb' model='none'/>
          <memballoon model='none'/>
      """
    )
  }

  /// A machine that libvirt has started, at work on its disk.
  private final class Machine {
    private let libvirt: ChildProcess
    private let console: RawConnection

    init(_ definition: String, console socket: String, scratch: ScratchDirectory) throws {
      let file = scratch.file("domain.xml")
      try definition.write(toFile: file, atomically: true, encoding: .utf8)
      let root = try scratch.subdirectory("libvirt")
      try Self.configure(root)
      libvirt = try ChildProcess(
        "unshare",
        [
          "--user", "--map-user=1000", "--pid", "--fork", "--kill-child", "--mount-proc",
          // Something must reap the processes that libvirt lets go of.
          "sh", "-c", "\"$@\"; exit", "sh", try Tool.require("virt-qemu-run"),
          "--root=\(root)", file,
        ], name: "libvirt", logs: scratch)
      let libvirt = libvirt
      // libvirt first asks qemu for everything that it can.
      try eventually("libvirt starts the machine", within: hangLimit) {
        if !libvirt.isRunning { throw RigError("libvirt: \(libvirt.stderr)") }
        return RawConnection.isListening(unix: socket)
      }
      console = try RawConnection(unix: socket)
    }

    /// libvirt hands the output of qemu to virtlogd, another daemon; here it goes to a file.
    private static func configure(_ root: String) throws {
      try FileManager.default.createDirectory(
        atPath: "\(root)/etc", withIntermediateDirectories: true)
      try "stdio_handler = \"file\"\n".write(
        toFile: "\(root)/etc/qemu.conf", atomically: true, encoding: .utf8)
    }

    /// Waits for a line that contains `text`; fails on one that complains.
    func wait(for text: String) throws {
      var line: [UInt8] = []
      while true {
        let byte = try console.receive(1, within: hangLimit)
        if byte.isEmpty { throw RigError("the machine is gone: \(libvirt.stderr)") }
        if byte != [UInt8(ascii: "\n")] {
          line += byte
          continue
        }
        let said = String(decoding: line, as: UTF8.self)
        line = []
        if said.contains(text) { return }
        if said.contains("error") || said.contains("differs") { throw RigError(said) }
      }
    }

    func send(_ text: String) { console.send(Array(text.utf8)) }
  }

  /// The disk's element, which old libvirts understand but for the delay; and qemu's own words.
  @Test(arguments: [("<disk", false), ("<domain", true)])
  func `a machine of the documentation runs`(start: String, waits: Bool) throws {
    let kernel = try GuestKernel.prepare()
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("shop-root", size: Self.size, role: .protected)
    try GuestDisk.make(
      at: site.rawFile("shop-root"), size: Self.size, kernel: kernel, scratch: scratch)
    try site.start()
    let console = try scratch.socket("console")
    let (outside, devices) = Self.rest(kernel, console: console)
    let block = try Self.documented(start)
      .replacingOccurrences(of: "/run/tapline/east.sock", with: site.socket)
    let definition =
      start == "<disk"
      ? "<domain type='qemu'>\n\(outside)<devices>\n\(devices)\(block)</devices></domain>"
      : block.replacingOccurrences(
        of: "  …\n", with: "\(outside)<devices>\n\(devices)</devices>\n")
    let machine = try Machine(definition, console: console, scratch: scratch)
    try machine.wait(for: "GUEST ready")
    machine.send("exercise\n")
    try machine.wait(for: "EXERCISE 2 done")
    try site.takeOver()
    try machine.wait(for: "EXERCISE 4 done")
    if waits {
      try site.crash()
      try site.start()
      try machine.wait(for: "EXERCISE 6 done")
    }
  }
}
