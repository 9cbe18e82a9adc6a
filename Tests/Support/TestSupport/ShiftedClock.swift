import Foundation

/// The wall clock of a site, which a test sets. See `Tests/Support/ShiftedClock/shifted_clock.c`,
/// which this builds.
public final class ShiftedClock {
  private let library: String
  private let file: String

  /// Needs `cc`.
  public init(in scratch: ScratchDirectory) throws {
    library = try PreloadedLibrary.build("ShiftedClock/shifted_clock.c", in: scratch)
    file = scratch.file("clock_shift")
    try Data(count: 8).write(to: URL(fileURLWithPath: file))
  }

  /// What the site's environment needs.
  public var environment: [String: String] { ["LD_PRELOAD": library, "SHIFTED_CLOCK": file] }

  /// Sets the clock `seconds` ahead of the machine's; takes effect at once.
  public func set(ahead seconds: Int) throws {
    let shift = Int64(seconds) * 1_000_000_000
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: file))
    defer { try? handle.close() }
    try handle.write(contentsOf: unsafe withUnsafeBytes(of: shift) { unsafe Data($0) })
  }
}
