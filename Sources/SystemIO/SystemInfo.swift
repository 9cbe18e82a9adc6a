import Glibc

public enum SystemInfo {
  /// Processors that this process may use; at least 1.
  public static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

  /// The user as whom this process acts.
  public static var user: UInt32 { geteuid() }
}
