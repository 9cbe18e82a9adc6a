import Glibc

/// The two clocks of the operating system. Neither call blocks; both are served without entering
/// the kernel.
public enum SystemClock {
  /// Nanoseconds since 1970 (`CLOCK_REALTIME`); may jump.
  @inline(__always)
  public static func realtimeNanoseconds() -> UInt64 { read(CLOCK_REALTIME) }

  /// Nanoseconds since an arbitrary start (`CLOCK_MONOTONIC`); never goes back.
  @inline(__always)
  public static func monotonicNanoseconds() -> UInt64 { read(CLOCK_MONOTONIC) }

  @inline(__always)
  private static func read(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(clock, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}
