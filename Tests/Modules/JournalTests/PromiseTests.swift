import BlockModel
import Testing

@testable import Journal

/// Proves that a start knows at least what was promised before, and on one boot of the machine not
/// much more.
@Suite struct PromiseTests {
  private static let start = Timestamp(rawValue: 1_000_000_000_000)

  private static func reserved() -> Promise {
    var promise = Promise.none
    promise.reserve(start, at: 500, boot: 7)
    return promise
  }

  @Test func onOneBootNoMoreThanTheTimeThatHasPassedWasPromised() {
    let promise = Self.reserved()
    #expect(promise.limit(at: 500, boot: 7) == Self.start)
    #expect(promise.limit(at: 800, boot: 7).rawValue == Self.start.rawValue + 300)
    #expect(promise.limit(at: .max / 2, boot: 7) == promise.through)
  }

  @Test(arguments: [(UInt64(800), UInt64(8)), (499, 7), (800, 0)])
  func onAnotherBootAllThatWasReservedCounts(monotonic: UInt64, boot: UInt64) {
    let promise = Self.reserved()
    #expect(promise.limit(at: monotonic, boot: boot) == promise.through)
    #expect(promise.through.nanoseconds(since: Self.start) == Promise.reserveNanoseconds)
  }

  @Test func aReservationTakesNothingBackWhenTheClockHasGoneBack() {
    var promise = Self.reserved()
    promise.reserve(Timestamp(rawValue: 5), at: 900, boot: 7)
    #expect(promise.limit(at: 900, boot: 7).rawValue == Self.start.rawValue + 400)
    promise.reserve(Timestamp(rawValue: 5), at: 100, boot: 8)
    #expect(promise.limit(at: 100, boot: 8) >= Self.reserved().limit(at: 900, boot: 7))
  }

  @Test func aStopLeavesExactlyWhatWasPromised() {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2), disks: [], baseline: .complete)
    state.promise = Self.reserved()
    state.noteStop(durable: .none, followers: [], promised: Self.start)
    #expect(state.promise.limit(at: .max, boot: 7) == Self.start)
  }

  @Test func aLostCopyOfTheStateMayHaveReservedMore() {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2), disks: [], baseline: .complete)
    state.promise = Self.reserved()
    state.distrust()
    #expect(state.promise.limit(at: 500, boot: 7) > Self.reserved().through)
  }
}
