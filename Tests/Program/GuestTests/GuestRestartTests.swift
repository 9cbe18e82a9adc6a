import TestSupport
import Testing

/// Proves that an upgrade or a restart of the site costs a running guest no I/O error: without any
/// help of qemu while the site is handed over, and with qemu's reconnect delay when it is stopped
/// or killed. The guest writes, and reads back from the disk, all the time.
@Suite(.scratch, .requires("qemu-system-x86_64", "mke2fs", "e2fsck", "debugfs"))
struct GuestRestartTests {
  private static let size = 64 << 20

  /// A site with a guest at work on its disk.
  private func start(reconnectDelay: Int?) throws -> (site: Site, guest: Guest) {
    let kernel = try GuestKernel.prepare()
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("root", size: Self.size, role: .protected)
    try GuestDisk.make(
      at: site.rawFile("root"), size: Self.size, kernel: kernel, scratch: scratch)
    try site.start()
    let guest = try Guest(
      kernel: kernel, socket: site.socket, export: "root", logs: scratch,
      reconnectDelay: reconnectDelay)
    try guest.exercise()
    try guest.makeProgress(1)
    return (site, guest)
  }

  private func check(_ site: Site, _ guest: Guest) throws {
    try guest.makeProgress(2)
    #expect(guest.complaints == [])
    try guest.powerCut()
    try site.stop()
    try GuestDisk.checkFileSystem(site.rawFile("root"))
  }

  @Test func `a guest without a reconnect delay does not notice hand-overs`() throws {
    let (site, guest) = try start(reconnectDelay: nil)
    for _ in 0..<4 {
      try site.takeOver()
      try guest.makeProgress(2)
    }
    try check(site, guest)
  }

  @Test func `a guest with a reconnect delay waits for a site that stops and starts`() throws {
    let (site, guest) = try start(reconnectDelay: 60)
    try site.stop()
    try site.start()
    try check(site, guest)
  }

  @Test func `a guest with a reconnect delay waits for a site that was killed`() throws {
    let (site, guest) = try start(reconnectDelay: 60)
    for _ in 0..<2 {
      try site.crash()
      try site.start()
      try guest.makeProgress(1)
    }
    try check(site, guest)
  }

  /// So that the tests above would see an error if there was one.
  @Test func `a guest without a reconnect delay complains when the site is killed`() throws {
    let (site, guest) = try start(reconnectDelay: nil)
    try site.crash()
    try eventually("the guest complains") { !guest.complaints.isEmpty }
    try guest.powerCut()
  }
}
