import Glibc

public enum SystemInfo {
  /// Processors that this process may use; at least 1.
  public static var processorCount: Int { max(1, SystemCalls.processorCount()) }
}

/// Random numbers from the operating system.
public struct SystemEntropy: RandomNumberGenerator {
  public init() {}
  public mutating func next() -> UInt64 { SystemCalls.entropy() }
}
