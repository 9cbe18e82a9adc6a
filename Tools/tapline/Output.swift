import BlockModel
import Foundation
import SystemIO

/// Lines on the two standard streams.
enum Output {
  /// A line on standard error, in one write. Lost when it cannot be written: a terminal that was
  /// closed or a full disk must not end a site.
  static func error(_ line: String) {
    try? FileHandle.standardError.write(contentsOf: Data((line + "\n").utf8))
  }

  /// A running site's log line, on standard error: time, program, site, message.
  static func log(_ site: String, _ message: String) {
    let now = SystemClock.realtimeNanoseconds() / 1_000_000 * 1_000_000
    let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
    error("\(Timestamp(nanoseconds: now)) tapline: \(site): \(line)")
  }

  /// Text on standard output; it leaves when the process ends or `flush` is called.
  static func write(_ text: String) { print(text, terminator: "") }

  /// Whether everything written so far has left.
  @discardableResult
  static func flush() -> Bool { fflush(nil) == 0 }
}
