import Testing

@testable import Replication

/// When a full copy asks for confirmation, and when records follow.
@Suite struct CopyPaceTests {
  private static let total: UInt64 = 1 << 30

  private static func pace() -> CopyPace {
    CopyPace(total: total, lacking: total, nowNanoseconds: 0)
  }

  @Test func `what was sent is confirmed now and then, one question at a time`() {
    var pace = Self.pace()
    #expect(pace.next(lacking: Self.total, isConfirmed: true, nowNanoseconds: 0) == .send)
    pace.noteSent(64 << 20)
    let rest = Self.total - 64 << 20
    #expect(pace.next(lacking: rest, isConfirmed: false, nowNanoseconds: 1) == .confirm)
    pace.noteConfirming(nowNanoseconds: 1)
    pace.noteSent(64 << 20)
    #expect(pace.next(lacking: rest, isConfirmed: false, nowNanoseconds: 2) == .send)
    pace.noteConfirmed(nowNanoseconds: 11)
    #expect(pace.next(lacking: rest, isConfirmed: false, nowNanoseconds: 30) == .send)
    #expect(pace.next(lacking: rest, isConfirmed: false, nowNanoseconds: 31) == .confirm)
  }

  @Test func `also when little is sent in a long time`() {
    var pace = Self.pace()
    pace.noteSent(1)
    let rest = Self.total - 1
    #expect(pace.next(lacking: rest, isConfirmed: false, nowNanoseconds: 4_999_999_999) == .send)
    #expect(pace.next(lacking: rest, isConfirmed: false, nowNanoseconds: 5_000_000_000) == .confirm)
  }

  @Test func `records follow when little is left and all that was sent is confirmed`() {
    var pace = Self.pace()
    pace.noteSent(Self.total)
    #expect(pace.next(lacking: 1 << 20, isConfirmed: false, nowNanoseconds: 1) == .confirm)
    pace.noteConfirming(nowNanoseconds: 1)
    #expect(pace.next(lacking: 9 << 20, isConfirmed: false, nowNanoseconds: 2) == .wait)
    pace.noteConfirmed(nowNanoseconds: 2)
    #expect(pace.next(lacking: 9 << 20, isConfirmed: true, nowNanoseconds: 3) == .follow)
    pace.noteFollowing()
    #expect(pace.next(lacking: 9 << 20, isConfirmed: true, nowNanoseconds: 4) == .send)
    #expect(pace.next(lacking: 0, isConfirmed: false, nowNanoseconds: 5) == .end)
  }

  /// The peer tells nothing any more once records follow.
  @Test func `while the peer is asked what it has, records do not follow`() {
    var pace = Self.pace()
    pace.noteSent(Self.total - 1)
    let next = { (isComparing: Bool) in
      pace.next(lacking: 1, isConfirmed: true, isComparing: isComparing, nowNanoseconds: 1)
    }
    #expect(next(true) == .send)
    #expect(next(false) == .follow)
  }

  @Test func `another round is made only if it leaves less`() {
    var pace = Self.pace()
    pace.noteSent(Self.total)
    #expect(pace.next(lacking: Self.total / 2, isConfirmed: true, nowNanoseconds: 1) == .send)
    pace.noteSent(Self.total / 2)
    #expect(pace.next(lacking: Self.total / 2, isConfirmed: true, nowNanoseconds: 1) == .follow)
  }
}
