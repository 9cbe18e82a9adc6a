/// The bounds of the control protocol.
public enum ControlLimits {
  /// A request without its newline.
  public static let requestBytes = 64 << 10
  /// A reply without its newline; a site of thousands of disks stays far below.
  public static let replyBytes = 64 << 20
  /// Clients at a time; more are refused.
  public static let connections = 32
  /// Clients that wait to be taken.
  public static let backlog: Int32 = 64
  /// A client that sends no whole request for so long is disconnected.
  public static let idleMilliseconds: Int32 = 30_000
  /// A client that takes no byte of its reply for so long is disconnected.
  public static let sendMilliseconds: Int32 = 10_000
  /// The command line waits so long for a reply.
  public static let replySeconds = 60
}
