import Glibc

public enum SystemInfo {
  /// Processors that this process may use; at least 1.
  public static var processorCount: Int { max(1, SystemCalls.processorCount()) }

  /// The user as whom this process acts.
  public static var user: UInt32 { geteuid() }
}

/// Random numbers from the operating system.
public struct SystemEntropy: RandomNumberGenerator {
  public init() {}
  public mutating func next() -> UInt64 { SystemCalls.entropy() }
}
