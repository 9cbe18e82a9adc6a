import Foundation
import Testing

/// The kernel, initramfs and busybox that guests boot with, as `Tools/guest-kernel` leaves them.
public struct GuestKernel: Sendable {
  public let kernel: String
  public let initrd: String
  public let busybox: String

  /// Prepares them on first use (which may download packages). Blocks.
  /// - Throws: cancels the current test, with the reason, when they cannot be prepared; with
  ///   `TAPLINE_SKIP_NOTHING=1` fails it instead.
  public static func prepare() throws -> GuestKernel {
    do {
      return try prepared.get()
    } catch  where !skipNothing {
      try skipTest("no guest: \(error)")
    }
  }

  private static let prepared = Result {
    let tool = projectRoot.appending("/Tools/guest-kernel")
    let finished = try run(tool, [], within: .seconds(300))
    guard finished.status == 0 else {
      throw RigError(finished.stderr.trimmingCharacters(in: .whitespacesAndNewlines))
    }
    let directory = finished.stdout.trimmingCharacters(in: .whitespacesAndNewlines)
    return GuestKernel(
      kernel: "\(directory)/vmlinuz", initrd: "\(directory)/initrd",
      busybox: "\(directory)/busybox")
  }
}

/// The directory of the package, from where this source file was compiled.
public let projectRoot: String = {
  let file = URL(fileURLWithPath: #filePath)
  return file.deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path
}()
