import Foundation
import Testing

/// A block device over a file, detached with this object. Needs root, and one of the few loop
/// devices that a machine has.
public final class LoopDevice {
  public let path: String

  public init(over file: String) throws {
    path = try run("losetup", ["--find", "--show", file]).checked().stdout
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  deinit { _ = try? run("losetup", ["--detach", path]) }

  public static let isPossible: Bool = {
    guard geteuid() == 0, let scratch = try? ScratchDirectory(),
      let file = try? scratch.sparseFile("probe.img", size: 1 << 20)
    else { return false }
    return (try? LoopDevice(over: file)) != nil
  }()
}

extension Trait where Self == ConditionTrait {
  /// Skips a test where no file can become a device.
  public static var hasLoopDevice: Self {
    .enabled(if: LoopDevice.isPossible || skipNothing, "needs root and a free loop device")
  }
}
