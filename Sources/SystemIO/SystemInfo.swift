import Glibc

public enum SystemInfo {
  /// Processors that this process may use; at least 1.
  public static var processorCount: Int { max(1, SystemCalls.processorCount()) }

  /// Another one after each start of the machine; 0 when the system does not tell. Within one,
  /// `SystemClock.monotonicNanoseconds` goes on from process to process. Reads a file of the
  /// kernel.
  public static var bootIdentifier: UInt64 { SystemCalls.bootIdentifier() }

  /// The user as whom this process acts.
  public static var user: UInt32 { geteuid() }
}

/// Random numbers from the operating system.
public struct SystemEntropy: RandomNumberGenerator {
  public init() {}
  public mutating func next() -> UInt64 { SystemCalls.entropy() }
}
