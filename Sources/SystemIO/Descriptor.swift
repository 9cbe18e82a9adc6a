import Glibc

/// The owner of an open file descriptor: closes it once, when its life ends.
///
/// Noncopyable, so a descriptor cannot be closed twice or used after it was closed. Classes that
/// share a descriptor between threads hold one of these and lend `raw`.
public struct Descriptor: ~Copyable, Sendable {
  /// Valid while this value lives.
  public let raw: Int32

  public init(owning raw: Int32) { self.raw = raw }

  deinit { _ = SystemCalls.close(raw) }
}
