import Foundation
import Testing

/// A file system of its own for a test, unmounted with this object. Needs root.
public final class Mount {
  public let path: String
  private let device: String?

  public static let isPossible: Bool = geteuid() == 0 && tryTmpfs()

  private static func tryTmpfs() -> Bool {
    guard let scratch = try? ScratchDirectory() else { return false }
    return (try? Mount(tmpfs: "64k", in: scratch)) != nil
  }

  /// In memory, of the given size (`16m`).
  public init(tmpfs size: String, in scratch: ScratchDirectory) throws {
    path = try scratch.subdirectory("tmpfs-\(UInt32.random(in: 0..<(.max)))")
    device = nil
    try run("mount", ["-t", "tmpfs", "-o", "size=\(size)", "none", path]).checked()
  }

  /// An ext4 on a loop device.
  public init(ext4 size: Int, in scratch: ScratchDirectory) throws {
    let name = "ext4-\(UInt32.random(in: 0..<(.max)))"
    let image = try scratch.sparseFile("\(name).img", size: size)
    path = try scratch.subdirectory(name)
    try run("mkfs.ext4", ["-q", "-F", "-m", "0", "-e", "remount-ro", image]).checked()
    let device = try run("losetup", ["-f", "--show", image]).checked().stdout
      .trimmingCharacters(in: .whitespacesAndNewlines)
    self.device = device
    try run("mount", ["-t", "ext4", device, path]).checked()
  }

  deinit {
    _ = try? run("umount", ["-l", path])
    if let device { _ = try? run("losetup", ["-d", device]) }
  }

  /// A sparse file of `size` zeros on it.
  public func sparseFile(_ name: String, size: Int) throws -> String {
    let file = "\(path)/\(name)"
    guard FileManager.default.createFile(atPath: file, contents: nil),
      unsafe truncate(file, size) == 0
    else { throw RigError("cannot create \(file)") }
    return file
  }

  /// Makes the kernel believe that an ext4 has an error: it becomes read-only below open files.
  public func failAsAfterAnError() throws {
    guard let name = device?.split(separator: "/").last else { throw RigError("not an ext4") }
    let trigger = "/sys/fs/ext4/\(name)/trigger_fs_error"
    guard let file = FileHandle(forWritingAtPath: trigger) else { throw RigError("no \(trigger)") }
    try file.write(contentsOf: Data("x".utf8))
  }

  /// Checks an ext4 that had an error and mounts it again; nobody may have files open in it.
  public func repair() throws {
    guard let device else { throw RigError("not an ext4") }
    try run("umount", [path]).checked()
    try run("e2fsck", ["-f", "-p", device]).checked(0, 1)
    try run("mount", ["-t", "ext4", device, path]).checked()
  }

  /// Remounts; `ro` or `rw`.
  public func remount(_ mode: String) throws {
    try run("mount", ["-o", "remount,\(mode)", path]).checked()
  }

  /// Takes all space that is left, in a file that `free` removes.
  public func fill() throws {
    _ = try? run("dd", ["if=/dev/zero", "of=\(filler)", "bs=64k"], within: .seconds(120))
    _ = try? run("dd", ["if=/dev/zero", "of=\(filler)2", "bs=512"], within: .seconds(120))
  }

  public func free() throws {
    for name in [filler, filler + "2"] where FileManager.default.fileExists(atPath: name) {
      try FileManager.default.removeItem(atPath: name)
    }
  }

  private var filler: String { path + "/filler" }
}

extension Trait where Self == ConditionTrait {
  /// Skips a test where no file system can be mounted.
  public static var canMount: Self {
    .enabled(if: Mount.isPossible || skipNothing, "mounting a file system needs root")
  }
}
