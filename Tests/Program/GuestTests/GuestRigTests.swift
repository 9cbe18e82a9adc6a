import Foundation
import TestSupport
import Testing

/// Proves the guest and the checks of its disk themselves, on an upstream NBD server that writes
/// straight to a file: what a crash leaves there passes the checks, and damage does not.
@Suite(.scratch, .requires("qemu-system-x86_64", "nbdkit", "mke2fs", "e2fsck", "debugfs"))
struct GuestRigTests {
  @Test func `a disk copied between steps holds exactly the files of the step`() throws {
    let kernel = try GuestKernel.prepare()
    let scratch = try ScratchDirectory()
    let image = scratch.file("disk.raw")
    try GuestDisk.make(at: image, size: 64 << 20, kernel: kernel, scratch: scratch)
    let socket = try scratch.socket("nbd.sock")
    let server = try ChildProcess(
      "nbdkit", ["-f", "-U", socket, "file", image], name: "nbdkit", logs: scratch)
    try eventually("nbdkit listens") { RawConnection.isListening(unix: socket) }

    let guest = try Guest(kernel: kernel, socket: socket, export: "", logs: scratch)
    var steps: [(Guest.Step, copy: String)] = []
    for number in 1...3 {
      let step = try guest.step(number)
      let copy = scratch.file("copy-\(number).raw")
      try run("nbdcopy", ["nbd+unix:///?socket=\(socket)", copy]).checked()
      steps.append((step, copy))
    }
    try guest.storm(rounds: 2)
    try guest.powerCut()
    try server.terminate()

    for (step, copy) in steps {
      try GuestDisk.checkFileSystem(copy)
      #expect(try GuestDisk.sums(of: copy, scratch: scratch) == step.sums)
      #expect(step.sums.count == 2 * step.number + 1)
    }
    try GuestDisk.checkFileSystem(image)
    #expect(try GuestDisk.sums(of: image, scratch: scratch) != steps[2].0.sums)
  }

  @Test func `the check of a file system refuses one with lost blocks`() throws {
    let kernel = try GuestKernel.prepare()
    let scratch = try ScratchDirectory()
    let image = scratch.file("disk.raw")
    try GuestDisk.make(at: image, size: 64 << 20, kernel: kernel, scratch: scratch)
    let file = try #require(FileHandle(forWritingAtPath: image))
    // Somewhere in the inode table and bitmaps that follow the superblock.
    try file.seek(toOffset: 16384)
    try file.write(contentsOf: Data(count: 1 << 20))
    try file.close()
    #expect(throws: RigError.self) { try GuestDisk.checkFileSystem(image) }
  }
}
