/// What has happened in a run: a digest of all of it, and, when somebody wants to read it, lines.
final class Trace {
  enum Detail {
    /// The digest alone: lines are not even made.
    case digest
    /// The last so many lines are kept.
    case tail(Int)
    /// Every line is printed.
    case full
  }

  private let detail: Detail
  private var lines: [String] = []
  private var next = 0
  /// FNV-1a over 64-bit words.
  private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325
  private(set) var eventCount = 0
  /// Of the simulation, in nanoseconds.
  var now: () -> UInt64 = { 0 }

  init(_ detail: Detail) { self.detail = detail }

  func mix(_ word: UInt64) {
    digest = (digest ^ word) &* 0x0000_0100_0000_01b3
    digest ^= digest >> 29
  }

  func mix(_ text: String) {
    for byte in text.utf8 { mix(UInt64(byte)) }
  }

  func mix(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { buffer in
      let whole = buffer.count / 8 * 8
      for offset in stride(from: 0, to: whole, by: 8) {
        mix(unsafe buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      }
      var rest: UInt64 = 0
      for index in whole..<buffer.count { rest = rest << 8 | UInt64(unsafe buffer[index]) }
      mix(rest)
    }
  }

  /// An event: its time and what was mixed in before count; the line is for people only.
  func note(_ line: @autoclosure () -> String) {
    eventCount += 1
    mix(now())
    if case .digest = detail { return }
    let text = "\(Self.time(now())) \(line())"
    switch detail {
    case .digest: break
    case .full: print(text)
    case .tail(let count):
      if lines.count < count { lines.append(text) } else { lines[next] = text }
      next = (next + 1) % count
    }
  }

  var tail: [String] { Array(lines[min(next, lines.count)...] + lines[..<min(next, lines.count)]) }

  /// Seconds with six digits after the point.
  static func time(_ nanoseconds: UInt64) -> String {
    let digits = String(nanoseconds / 1000 % 1_000_000)
    return "\(nanoseconds / 1_000_000_000)." + String(repeating: "0", count: 6 - digits.count)
      + digits
  }
}
