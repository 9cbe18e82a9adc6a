/// What the sender does next while it copies disks. A value without I/O.
///
/// The copy goes over the disks again and again, each time over what has changed since, until
/// little is left or it gets no less. Then everything that was sent is confirmed, the records
/// follow from there on, and what is left is sent beside them.
struct CopyPace: Equatable {
  enum Step: Equatable {
    /// A few pieces.
    case send
    /// The peer is asked to make durable what it has, and to say so.
    case confirm
    /// Nothing but what the peer says.
    case wait
    /// Records from now on.
    case follow
    /// All pieces are sent.
    case end
  }

  private let smallByteCount: UInt64
  private let confirmByteCount: UInt64
  private var roundByteCount: UInt64
  private var sentInRound: UInt64 = 0
  private var sentUnconfirmed: UInt64 = 0
  private var lastConfirmNanoseconds: UInt64
  private var isConfirming = false
  /// A peer that is slow to confirm is not asked more often than a third of the time.
  private var restUntilNanoseconds: UInt64 = 0
  /// Enough of the disks is there: nothing is sent until all of it is confirmed.
  private var isDraining = false
  private(set) var isFollowing = false

  private static var confirmNanoseconds: UInt64 { 5_000_000_000 }

  init(total: UInt64, lacking: UInt64, nowNanoseconds: UInt64) {
    smallByteCount = min(4 << 20, total / 16)
    confirmByteCount = max(16 << 10, min(64 << 20, total / 8))
    roundByteCount = lacking
    lastConfirmNanoseconds = nowNanoseconds
  }

  /// - Parameters:
  ///   - lacking: bytes that must still be sent.
  ///   - isConfirmed: nothing that was sent waits to be made durable.
  ///   - isComparing: some of what is lacking is looked up at the peer, which tells only before
  ///     records follow.
  mutating func next(
    lacking: UInt64, isConfirmed: Bool, isComparing: Bool = false, nowNanoseconds: UInt64
  ) -> Step {
    if isFollowing, lacking == 0 { return .end }
    if !isFollowing, !isDraining, !isComparing {
      let hasEnded = roundHasEnded(lacking)
      isDraining = hasEnded || lacking <= smallByteCount
    }
    if isDraining {
      if isConfirmed { return .follow }
      return isConfirming ? .wait : .confirm
    }
    let elapsed = nowNanoseconds &- lastConfirmNanoseconds
    if !isConfirming, !isConfirmed, nowNanoseconds >= restUntilNanoseconds,
      sentUnconfirmed >= confirmByteCount || elapsed >= Self.confirmNanoseconds
    {
      return .confirm
    }
    return .send
  }

  /// A round is over when as much was sent as was lacking at its beginning. True when another would
  /// not leave much less.
  private mutating func roundHasEnded(_ lacking: UInt64) -> Bool {
    guard sentInRound >= roundByteCount else { return false }
    let isConverging = lacking < roundByteCount / 4 * 3
    roundByteCount = lacking
    sentInRound = 0
    return !isConverging
  }

  mutating func noteSent(_ byteCount: UInt64) {
    sentInRound += byteCount
    sentUnconfirmed += byteCount
  }

  mutating func noteConfirming(nowNanoseconds: UInt64) {
    isConfirming = true
    sentUnconfirmed = 0
    lastConfirmNanoseconds = nowNanoseconds
  }

  mutating func noteConfirmed(nowNanoseconds: UInt64) {
    isConfirming = false
    restUntilNanoseconds = nowNanoseconds + 2 * (nowNanoseconds &- lastConfirmNanoseconds)
  }

  mutating func noteFollowing() {
    isFollowing = true
    isDraining = false
  }
}
