import Glibc

/// What only block devices have.
public enum BlockDevice {
  /// True when the system itself uses the device now: it is mounted, swapped to, or part of a
  /// volume group or array. The answer is of this moment; nothing is kept open.
  public static func isClaimed(_ path: String) throws(Errno) -> Bool {
    do {
      // Without O_CREAT, O_EXCL on a block device asks for the kernel's exclusive claim (open(2)).
      let raw = try retrying { SystemCalls.open(path, O_RDONLY | O_EXCL | O_CLOEXEC) }
      _ = Descriptor(owning: raw)
      return false
    } catch Errno.busy {
      return true
    }
  }
}
