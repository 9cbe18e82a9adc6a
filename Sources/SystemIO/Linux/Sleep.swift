import Glibc

extension Thread {
  /// Blocks the calling thread for at least `milliseconds`, whatever signals arrive.
  public static func sleep(milliseconds: UInt64) {
    let seconds = Int(milliseconds / 1000)
    var time = timespec(tv_sec: seconds, tv_nsec: Int(milliseconds % 1000) * 1_000_000)
    var rest = timespec()
    while unsafe nanosleep(&time, &rest) != 0, errno == EINTR { time = rest }
  }
}
