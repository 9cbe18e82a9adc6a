import TLS

/// That some site may introduce itself: for some minutes, once, to whoever knows the secret.
struct PairingOffer {
  static let nanoseconds: UInt64 = 600_000_000_000
  /// Of 2^80. Fewer, and a stranger could end the offer of others.
  static let tries = 1000

  let secret: [UInt8]
  private let end: UInt64
  private var triesLeft = Self.tries

  /// - Parameter now: monotonic nanoseconds.
  init(secret: [UInt8], now: UInt64) {
    self.secret = secret
    end = now + Self.nanoseconds
  }

  func isOpen(now: UInt64) -> Bool { now < end && triesLeft > 0 }

  /// Whether it is the secret. Who guesses has few tries, and learns nothing from the time that it
  /// takes.
  mutating func take(_ guess: [UInt8], now: UInt64) -> Bool {
    guard isOpen(now: now) else { return false }
    triesLeft -= 1
    guard guess.count == secret.count else { return false }
    return zip(guess, secret).reduce(0) { $0 | $1.0 ^ $1.1 } == 0
  }
}
