import Foundation
import Testing

/// A file system that loses, when its power is cut, all that was not synced: really, as a machine
/// does. Needs root; nothing of it is seen outside of the children of this process.
///
/// `cut` first, then end whoever uses it, then `restore`.
public final class LossyVolume {
  /// What is volatile.
  public enum Kind: String, Sendable, CaseIterable, CustomTestStringConvertible {
    /// The page cache and the part of the file system's log that is in memory. The disk below
    /// keeps what it was given.
    case ext4
    case xfs
    /// In addition a write cache of the disk below: what it was given and not told to flush.
    case deviceCache

    public var testDescription: String { rawValue }
  }

  public let kind: Kind
  /// Where it is mounted: for children of this process only.
  public let path: String
  /// Whether there is power no more.
  public private(set) var isCut = false
  private let scratch: ScratchDirectory
  private let name: String
  private let image: String
  private var server: ChildProcess?
  private var bridge: ChildProcess?

  /// Makes the file system and mounts it. Blocks for about a tenth of a second.
  /// - Parameter name: told apart from other volumes in the same scratch directory by it.
  public init(
    _ kind: Kind, named name: String, in scratch: ScratchDirectory, size: Int = 512 << 20
  ) throws {
    self.kind = kind
    self.name = name
    self.scratch = scratch
    path = try scratch.subdirectory("\(name)-volume")
    image = try scratch.sparseFile("\(name)-volume.img", size: size)
    switch kind {
    case .ext4, .deviceCache: try run("mke2fs", ["-q", "-F", "-t", "ext4", image]).checked()
    case .xfs: try run("mkfs.xfs", ["-q", "-f", image]).checked()
    }
    try mount()
  }

  deinit {
    server?.kill()
    // Lazily: a daemon that is about to be killed may still have files open.
    _ = try? run("umount", ["--lazy", path])
    try? endBridge()
  }

  /// A file of `size` zeros, sparse or with every block written, durable with its name.
  public func file(_ name: String, size: Int, isSparse: Bool = true) throws -> String {
    let file = "\(path)/\(name)"
    if isSparse {
      try run("truncate", ["--size", "\(size)", file]).checked()
    } else {
      try run("dd", ["if=/dev/zero", "of=\(file)", "bs=\(size)", "count=1"]).checked()
    }
    try run("sync", ["--file-system", file]).checked()
    return file
  }

  /// From now on nothing reaches the disk, and what was not made durable is lost.
  public func cut() throws {
    isCut = true
    guard kind == .deviceCache else { return try PrivateMounts.shutDown(path) }
    server?.kill(SIGKILL)
    try server?.wait()
  }

  /// Mounts what is left. Nobody may have files on the volume open any more.
  public func restore() throws {
    try eventually("\(path) can be unmounted") { try run("umount", [path]).status == 0 }
    // Whoever made a mount namespace meanwhile has the mount too, and until that is gone another
    // one would be of the file system that was cut. Some tests start such programs.
    try eventually("\(image) is no disk of anybody's", within: .seconds(120)) {
      try run("losetup", ["--associated", image]).checked().stdout.isEmpty
    }
    try endBridge()
    try mount()
    isCut = false
  }

  private func mount() throws {
    switch kind {
    case .ext4: try PrivateMounts.mount("-o", "loop", "-t", "ext4", image, path)
    case .xfs: try PrivateMounts.mount("-o", "loop", "-t", "xfs", image, path)
    case .deviceCache:
      try startBridge()
      try PrivateMounts.mount("-o", "loop", "-t", "ext4", "\(bridgePath)/disk", path)
    }
  }

  // MARK: A disk with a volatile cache: nbdkit's, as a file by FUSE, as a device by loop

  private var bridgePath: String { scratch.file("\(name)-device") }

  private func startBridge() throws {
    if let refusal = PrivateMounts.refusal { throw RigError(refusal) }
    let socket = try scratch.socket("\(name)-device.sock")
    unsafe unlink(socket)
    _ = try scratch.subdirectory("\(name)-device")
    server = try startServer(
      "nbdkit", "-f", "-U", socket, "--filter=cache", "file", image, "cache=writeback")
    bridge = try startServer("nbdfuse", "\(bridgePath)/disk", "nbd+unix:///?socket=\(socket)")
  }

  /// Starts a program that writes its number to the file named after -P when it serves.
  private func startServer(_ program: String, _ arguments: String...) throws -> ChildProcess {
    let pidFile = scratch.file("\(name)-\(program).pid")
    unsafe unlink(pidFile)
    let server = try ChildProcess(
      program, ["-P", pidFile] + arguments, name: "\(name)-\(program)", logs: scratch)
    try eventually("\(program) serves") {
      guard server.isRunning else { throw RigError("\(program): \(server.stderr)") }
      return unsafe access(pidFile, F_OK) == 0
    }
    return server
  }

  private func endBridge() throws {
    guard let bridge else { return }
    _ = try run("umount", ["--lazy", bridgePath])
    bridge.kill(SIGKILL)
    try bridge.wait()
    self.bridge = nil
  }

  // MARK: Whether there can be one

  /// Why this machine cannot have a volume of this kind, for lack of rights; nil when it can.
  public static var refusal: String? { PrivateMounts.refusal }
}

extension Trait where Self == ConditionTrait {
  /// Skips a test, saying why, where this process may not mount file systems: not even
  /// `TAPLINE_SKIP_NOTHING` can give it that right.
  public static var mountsVolumes: Self {
    .enabled("may not mount: \(LossyVolume.refusal ?? "")") { LossyVolume.refusal == nil }
  }
}
