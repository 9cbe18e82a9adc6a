/// Decides whether compressing what the link sends pays.
///
/// Sending `n` bytes plainly takes `n / rate`. Compressing them first takes `n / speed` and then
/// `ratio · n / rate`. It pays when `(1 − ratio) / rate > 1 / speed`: on a slow link with data
/// that shrinks, and never on a loopback. `rate` is measured only while the link is the bottleneck;
/// `ratio` and `speed` by trying one chunk now and then.
public struct CompressionPolicy: Sendable {
  /// Chunks between two trials while compression is off.
  private static let trialInterval = 64
  private static let weight = 0.2

  private var rateBytesPerSecond = Double.infinity
  private var speedBytesPerSecond = 400e6
  private var ratio = 0.5
  private var chunksSinceTrial = 0

  public init() {}

  /// Whether the next chunk should be compressed: because that pays, or to try.
  public mutating func shouldCompress() -> Bool {
    // A link that has never been the bottleneck has nothing to gain, not even from a trial.
    guard rateBytesPerSecond.isFinite else { return false }
    if pays { return true }
    chunksSinceTrial += 1
    guard chunksSinceTrial >= Self.trialInterval, rateBytesPerSecond < speedBytesPerSecond else {
      return false
    }
    chunksSinceTrial = 0
    return true
  }

  var pays: Bool { (1 - ratio) / rateBytesPerSecond > 1 / speedBytesPerSecond }

  /// The link took `byteCount` bytes in `nanoseconds` while more were waiting.
  public mutating func noteSent(byteCount: Int, nanoseconds: UInt64) {
    guard nanoseconds > 0 else { return }
    let sample = Double(byteCount) / (Double(nanoseconds) / 1e9)
    rateBytesPerSecond =
      rateBytesPerSecond.isFinite
      ? rateBytesPerSecond * (1 - Self.weight) + sample * Self.weight : sample
  }

  public mutating func noteCompressed(from: Int, to: Int, nanoseconds: UInt64) {
    guard from > 0, nanoseconds > 0 else { return }
    ratio = ratio * (1 - Self.weight) + Double(to) / Double(from) * Self.weight
    let sample = Double(from) / (Double(nanoseconds) / 1e9)
    speedBytesPerSecond = speedBytesPerSecond * (1 - Self.weight) + sample * Self.weight
  }
}
