import BlockModel
import Foundation
import SystemIO
import Testing

@testable import Storage

/// Proves stores on real block devices (loop) and on a full and a read-only file system (tmpfs).
/// Skipped where the user may not set these up.
@Suite(.serialized) struct DeviceTests {
  static let canMount = Tools.isRoot && mountWorks()
  static let hasLoop = Tools.isRoot && loopWorks()

  private static func mountWorks() -> Bool {
    let folder = ScratchFolder()
    guard let mount = Mount(folder, options: "size=64k") else { return false }
    return withExtendedLifetime(mount) { true }
  }

  private static func loopWorks() -> Bool {
    let folder = ScratchFolder()
    guard let path = try? folder.makeFile("probe", byteCount: 1 << 20) else { return false }
    return LoopDevice(path) != nil
  }

  /// A tmpfs, unmounted with this object.
  final class Mount {
    let path: String

    init?(_ folder: ScratchFolder, options: String) {
      path = folder["mount"]
      _ = unsafe mkdir(path, 0o700)
      guard Tools.run("mount", "-t", "tmpfs", "-o", options, "none", path) != nil else {
        return nil
      }
    }

    deinit { Tools.run("umount", path) }
  }

  /// A loop device over a file, detached with this object.
  final class LoopDevice {
    let path: String

    init?(_ file: String, sectorBytes: Int = 512) {
      guard
        let output = Tools.run(
          "losetup", "--find", "--show", "--sector-size", "\(sectorBytes)", file)
      else { return nil }
      path = output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    deinit { Tools.run("losetup", "--detach", path) }
  }

  // MARK: File systems

  @Test(.enabled(if: canMount, "needs root and mount(8)"))
  func aFullFileSystemIsNoSpace() throws {
    let folder = ScratchFolder()
    let mount = try #require(Mount(folder, options: "size=1m"))
    let path = mount.path + "/disk"
    let store = try FileStore.open(path, expectedSize: 4 << 20, createIfMissing: true)
    #expect(throws: StorageError.noSpace(.init(path, .write, 0, 2 << 20))) {
      try store.write(pattern(2 << 20), at: 0)
    }
    // Freeing makes room again; tmpfs has holes but no zeroed ranges, so those are written.
    try store.zero(ByteRange(start: 0, length: 4 << 20), mayFreeSpace: true)
    try store.write(pattern(4096), at: 0)
    try store.zero(ByteRange(start: 0, length: 8192), mayFreeSpace: false)
    #expect(try store.read(8192, at: 0).allSatisfy { $0 == 0 })
    #expect(throws: StorageError.noSpace(.init(path, .zero, 0, 2 << 20))) {
      try store.zero(ByteRange(start: 0, length: 2 << 20), mayFreeSpace: false)
    }
    // Holes need none, however many.
    try store.zero(ByteRange(start: 0, length: 4 << 20), mayFreeSpace: true)
  }

  @Test(.enabled(if: canMount, "needs root and mount(8)"))
  func aReadOnlyFileSystemIsNamed() throws {
    let folder = ScratchFolder()
    let mount = try #require(Mount(folder, options: "size=1m"))
    let path = mount.path + "/disk"
    try File(creating: path).truncate(to: 4096)
    #expect(Tools.run("mount", "-o", "remount,ro", mount.path) != nil)
    #expect(throws: StorageError.cannotOpen(store: path, .readOnlyFileSystem)) {
      try FileStore.open(path, expectedSize: 4096)
    }
  }

  // MARK: Devices

  /// Linux tells it to one call, and then no more: that one must not keep it to itself.
  @Test(.enabled(if: hasLoop && canMount, "needs root, mount(8) and a free loop device"))
  func whatTheDeviceLosesLaterIsToldByWriteOut() throws {
    let folder = ScratchFolder()
    let mount = try #require(Mount(folder, options: "size=1m"))
    try File(creating: mount.path + "/image").truncate(to: 8 << 20)
    let device = try #require(LoopDevice(mount.path + "/image"))
    let store = try FileStore.open(device.path, expectedSize: nil)
    let bytes = pattern(4 << 20)
    try store.write(bytes, at: 0)
    try store.writeOut()
    #expect(throws: StorageError.self) { try store.writeOut() }
    // What is told now is only what was not told yet.
    try? store.sync()
    #expect(Tools.run("mount", "-o", "remount,size=16m", mount.path) != nil)
    try store.write(bytes, at: 0)
    try store.sync()
    #expect(try Array(contents(mount.path + "/image")[..<bytes.count]) == bytes)
  }

  @Test(.enabled(if: hasLoop, "needs root and a free loop device"), arguments: [512, 4096])
  func aBlockDeviceBehavesAsAnArrayOfBytes(sectorBytes: Int) throws {
    let folder = ScratchFolder()
    let size = UInt64(StoreModelTests.byteCount)
    let file = try folder.makeFile("image", byteCount: size)
    let device = try #require(LoopDevice(file, sectorBytes: sectorBytes))
    let store = try FileStore.open(device.path, expectedSize: size, createIfMissing: true)
    #expect(store.isBlockDevice)
    let model = try StoreModelTests.exercise(store)
    #expect(try contents(file) == model)
  }

  @Test(.enabled(if: hasLoop, "needs root and a free loop device"))
  func aSecondOpenOfADeviceIsRefused() throws {
    let folder = ScratchFolder()
    let device = try #require(LoopDevice(try folder.makeFile("image", byteCount: 1 << 20)))
    let store = try FileStore.open(device.path, expectedSize: nil)
    #expect(throws: StorageError.inUse(store: device.path)) {
      try FileStore.open(device.path, expectedSize: nil)
    }
    withExtendedLifetime(store) {}
  }

  @Test(.enabled(if: hasLoop && Tools.have("mkfs.ext4"), "needs root, a loop device, mkfs.ext4"))
  func aMountedDeviceIsRefused() throws {
    let folder = ScratchFolder()
    let device = try #require(LoopDevice(try folder.makeFile("image", byteCount: 8 << 20)))
    #expect(Tools.run("mkfs.ext4", "-q", device.path) != nil)
    _ = unsafe mkdir(folder["fs"], 0o700)
    #expect(Tools.run("mount", device.path, folder["fs"]) != nil)
    defer { Tools.run("umount", folder["fs"]) }
    #expect(throws: StorageError.inUse(store: device.path)) {
      try FileStore.open(device.path, expectedSize: nil)
    }
  }
}
