import Glibc

/// The two clocks of the operating system. Neither call blocks; both are served without entering
/// the kernel.
public enum SystemClock {
  /// Nanoseconds since 1970 (`CLOCK_REALTIME`); may jump.
  @inline(__always)
  public static func realtimeNanoseconds() -> UInt64 {
    SystemCalls.nanoseconds(CLOCK_REALTIME)
  }

  /// Nanoseconds since an arbitrary start (`CLOCK_MONOTONIC`); never goes back.
  @inline(__always)
  public static func monotonicNanoseconds() -> UInt64 {
    SystemCalls.nanoseconds(CLOCK_MONOTONIC)
  }
}
