import Glibc

/// How soon the system gives up a TCP connection whose peer has vanished without a word: a machine
/// that lost its power, a network that was unplugged. Nobody else would ever notice.
public struct KeepAlive: Equatable, Sendable {
  /// Nothing was heard for so long: the peer is asked whether it is there.
  public var idleSeconds: Int32
  /// Between such questions.
  public var intervalSeconds: Int32
  /// What the peer has not acknowledged for so long ends the connection; so does a peer that is
  /// there and takes nothing, and one that answers none of the questions.
  public var patienceSeconds: Int32
  /// False: only questions that are not answered end it. A peer that is there may take nothing for
  /// as long as it likes, and what is sent to one that has vanished is tried for many minutes.
  public var boundsSending: Bool

  public init(
    idleSeconds: Int32, intervalSeconds: Int32, patienceSeconds: Int32, boundsSending: Bool = true
  ) {
    self.idleSeconds = idleSeconds
    self.intervalSeconds = intervalSeconds
    self.patienceSeconds = patienceSeconds
    self.boundsSending = boundsSending
  }

  /// Of every connection that is made or taken, unless it is told otherwise: clients of all kinds.
  public static let standard = KeepAlive(
    idleSeconds: 60, intervalSeconds: 10, patienceSeconds: 120)
  /// Of the receiving end of a link, which hears from its peer all the time.
  public static let receiving = KeepAlive(
    idleSeconds: 7, intervalSeconds: 2, patienceSeconds: 15)
  /// Of the sending end: a peer that is busy leaves the link unread, and says each second that it
  /// is there. `SendingLink` gives up one that does not.
  public static let sending = KeepAlive(
    idleSeconds: 7, intervalSeconds: 2, patienceSeconds: 15, boundsSending: false)

  /// Applies to any open socket; without effect on those that are not TCP. Any thread.
  public func apply(to descriptor: Int32) {
    func set(_ level: Int32, _ name: Int32, _ value: Int32) {
      unsafe withUnsafeBytes(of: value) { bytes in
        _ = unsafe SystemCalls.setOption(descriptor, level, name, bytes)
      }
    }
    let tcp = Int32(IPPROTO_TCP)
    set(SOL_SOCKET, SO_KEEPALIVE, 1)
    set(tcp, TCP_KEEPIDLE, idleSeconds)
    set(tcp, TCP_KEEPINTVL, intervalSeconds)
    set(tcp, TCP_KEEPCNT, max(1, (patienceSeconds - idleSeconds) / intervalSeconds))
    set(tcp, TCP_USER_TIMEOUT, boundsSending ? patienceSeconds * 1000 : 0)
  }
}
