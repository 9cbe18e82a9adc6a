import Foundation

/// Disks that a `Guest` boots from.
public enum GuestDisk {
  /// Writes an ext4 file system of `size` bytes with busybox and the workload to `image`.
  /// - Parameter programs: of this machine, which the guest gets with the libraries they need.
  public static func make(
    at image: String, size: Int, kernel: GuestKernel, programs: [String] = [],
    scratch: ScratchDirectory
  ) throws {
    let files = FileManager.default
    let root = try scratch.subdirectory("guest-root")
    for directory in ["bin", "sbin", "dev", "proc", "sys", "data"] {
      _ = try scratch.subdirectory("guest-root/\(directory)")
    }
    try files.copyItem(atPath: kernel.busybox, toPath: "\(root)/bin/busybox")
    let applets = try run(kernel.busybox, ["--list"]).checked().stdout
    for applet in applets.split(separator: "\n") where applet != "busybox" {
      try files.createSymbolicLink(
        atPath: "\(root)/bin/\(applet)", withDestinationPath: "busybox")
    }
    for program in programs { try install(program, in: root) }
    try workload.write(toFile: "\(root)/sbin/init", atomically: false, encoding: .utf8)
    try files.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(root)/sbin/init")
    try run(
      "mke2fs",
      ["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, image, "\(size / 1024)k"]
    ).checked()
    try files.removeItem(atPath: root)
  }

  private static func install(_ program: String, in root: String) throws {
    let files = FileManager.default
    let path = try Tool.require(program)
    let applet = "\(root)/bin/\(program)"
    try? files.removeItem(atPath: applet)
    try files.copyItem(atPath: path, toPath: applet)
    // A line is `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
    let libraries = try run("ldd", [path]).checked().stdout
    for word in libraries.split(whereSeparator: \.isWhitespace) where word.hasPrefix("/") {
      let copy = root + word
      let folder = (copy as NSString).deletingLastPathComponent
      try files.createDirectory(atPath: folder, withIntermediateDirectories: true)
      if files.fileExists(atPath: copy) { continue }
      let source = URL(filePath: String(word)).resolvingSymlinksInPath().path
      try files.copyItem(atPath: source, toPath: copy)
    }
  }

  /// Repairs a copy of the disk as a machine does when it boots after a power cut.
  /// - Throws: `RigError` when the file system needs more than its journal and the repairs that
  ///   are always safe, or is not clean afterwards.
  public static func checkFileSystem(_ image: String) throws {
    try run("e2fsck", ["-p", image]).checked(0, 1)
    try run("e2fsck", ["-fn", image]).checked()
  }

  /// SHA-256 of every file below `/data` of the file system, by path relative to it.
  public static func sums(of image: String, scratch: ScratchDirectory) throws -> [String: String] {
    let dump = try scratch.subdirectory("rdump-\(UInt32.random(in: 0 ... .max))")
    defer { try? FileManager.default.removeItem(atPath: dump) }
    try run("debugfs", ["-R", "rdump /data \(dump)", image]).checked()
    let data = "\(dump)/data"
    guard let names = FileManager.default.enumerator(atPath: data) else {
      throw RigError("no /data in \(image)")
    }
    let files = names.compactMap { $0 as? String }.filter { name in
      var isDirectory: ObjCBool = false
      _ = unsafe FileManager.default.fileExists(
        atPath: "\(data)/\(name)", isDirectory: &isDirectory)
      return !isDirectory.boolValue
    }
    guard !files.isEmpty else { return [:] }
    let lines = try run("sha256sum", files.map { "\(data)/\($0)" }).checked().stdout
    var sums: [String: String] = [:]
    for line in lines.split(separator: "\n") {
      let name = line.dropFirst(64 + 2 + data.utf8.count + 1)
      sums[String(name)] = String(line.prefix(64))
    }
    return sums
  }

  /// The init of the disk. Each line on the console is an order.
  private static let workload = #"""
    #!/bin/busybox sh
    export PATH=/bin
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    cd /data
    uptime() { cut -d' ' -f1 /proc/uptime; }
    random() { dd if=/dev/urandom of="$1" bs=1024 count="$2" $3 2>/dev/null; }

    # New files of three sizes, one moved into a directory; of the step before, the middle of one
    # file overwritten, one deleted, one appended to.
    step() {
      before=$((step - 1))
      random large-$step 300
      random small-$step 5
      random moved-$step 40
      mkdir dir-$step
      mv moved-$step dir-$step/
      if [ $before -gt 0 ]; then
        random large-$before 64 "conv=notrunc seek=100"
        rm small-$before
        echo "step $step" >>dir-$before/moved-$before
      fi
      find . -type f | sed 's,^\./,,' | xargs sha256sum | while read -r sum name; do
        echo "SUM $step $sum $name"
      done
      sync
      echo "STEP $step synced at $(uptime)"
    }

    storm() {
      round=0
      while :; do
        round=$((round + 1))
        for file in large-*; do random $file 200 conv=notrunc; done
        rm -rf dir-$round
        random storm-$round 100
        rm -f storm-$((round - 3))
        [ $((round % 2)) -eq 0 ] || sync
        echo "STORM $round done at $(uptime)"
      done
    }

    # What is read back comes from the disk.
    exercise() {
      round=0
      while :; do
        round=$((round + 1))
        random written 500
        sum=$(sha256sum written)
        dd if=written of=copy bs=64k conv=fsync 2>/dev/null || echo "EXERCISE $round: error"
        echo 3 >/proc/sys/vm/drop_caches
        [ "$(sha256sum <copy)" = "${sum%%written}-" ] || echo "EXERCISE $round differs"
        echo "EXERCISE $round done"
      done
    }

    step=0
    echo "GUEST ready at $(uptime)"
    while read -r order command; do
      case $order in
        step) step=$((step + 1)); step ;;
        storm) storm ;;
        size) echo "SIZE $(cat /sys/block/vda/size)" ;;
        tail)
          echo "GUEST TAIL" | dd of=/dev/vda bs=512 conv=sync,notrunc,fsync \
            seek=$(($(cat /sys/block/vda/size) - 1)) 2>/dev/null
          echo "TAIL written at $(uptime)" ;;
        exercise) exercise ;;
        # A number and a command of the shell.
        run)
          number=${command%% *}
          echo "RUN $number"
          (eval "${command#* }") 2>&1
          echo "RAN $number $?"
          ;;
      esac
    done
    """#
}
