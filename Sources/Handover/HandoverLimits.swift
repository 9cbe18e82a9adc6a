import NBDProtocol

/// The bounds of a hand-over.
///
/// What a guest notices is the time from `pauseMilliseconds` on. Together these stay below 30
/// seconds, after which Linux takes a disk on a virtual SCSI bus for hung.
public enum HandoverLimits {
  /// Versions of the messages that this program speaks.
  public static let versions: ClosedRange<UInt16> = 2...2

  /// For the other side to go on after the offer.
  public static let askMilliseconds: UInt64 = 10_000
  /// For work in the background to end while guests go on: one step of apply, mostly.
  public static let settleMilliseconds: UInt64 = 60_000
  /// For handshakes under way to end while guests go on; those that take longer are cut off.
  public static let handshakeMilliseconds: UInt64 = 500
  /// For the requests that were begun to be answered and for everything to be durable.
  public static let pauseMilliseconds: UInt64 = 8_000
  /// For the new process to take the messages and to open the journals.
  public static let openMilliseconds: UInt64 = 18_000
  /// For a word that asks for nothing.
  public static let farewellMilliseconds: UInt64 = 500
  /// What the new process waits for each message; the old one has decided by then.
  public static let patienceMilliseconds: UInt64 =
    settleMilliseconds + pauseMilliseconds + openMilliseconds + 5_000

  /// Bytes of a connection that arrived and were not consumed.
  public static let inputBytes = 4 << 20
  /// Bytes of replies that the client has not taken: what one connection may have waiting, and
  /// the longest reply on top.
  public static let outputBytes = 128 << 20
  /// Of one connection, taken and not answered.
  public static let reads = 1 << 16
  static let messageBytes = inputBytes + outputBytes + reads * 26 + (64 << 10)
  /// Of one site.
  public static let connections = 1 << 16
  public static let files = 1 << 19
  static let reasonBytes = 4096
}
