import BlockModel
import Testing

@testable import Appliance

/// Proves what stamps do when the wall clock jumps, and that ages do not.
@Suite struct GroupClockTests {
  private static let second: UInt64 = 1_000_000_000
  private static let hour: UInt64 = 3_600 * second
  private static let origin: UInt64 = 100 * hour

  /// Reads the clock at these seconds of real time, with the wall clock off by `offset` then.
  private static func read(
    _ clock: inout GroupClock, at seconds: ClosedRange<UInt64>, off offset: Int64 = 0
  ) -> Int64 {
    var now = Timestamp.zero
    for at in seconds {
      let wall = UInt64(Int64(origin + at * second) + offset)
      now = clock.read(
        wall: Timestamp(rawValue: wall), monotonic: at * second, floor: .zero)
    }
    return Int64(now.rawValue) - Int64(origin + seconds.upperBound * second)
  }

  private static func clock() -> GroupClock {
    GroupClock(wall: Timestamp(rawValue: origin), monotonic: 0)
  }

  @Test func aRightClockIsFollowed() {
    var clock = Self.clock()
    #expect(Self.read(&clock, at: 1...100) == 0)
    #expect(clock.recentStepBack == nil)
  }

  @Test func aClockThatIsAheadForAMomentLeavesNothing() {
    var clock = Self.clock()
    #expect(Self.read(&clock, at: 1...3, off: Int64(8 * Self.hour)) == 0)
    #expect(Self.read(&clock, at: 4...5) == 0)
    #expect(clock.recentStepBack != nil, "people should know all the same")
  }

  @Test func aClockThatStaysAheadIsBelieved() {
    var clock = Self.clock()
    #expect(Self.read(&clock, at: 1...20, off: Int64(8 * Self.hour)) == Int64(8 * Self.hour))
  }

  @Test func behindWhatWasStampedTimeGoesOnAndComesRight() {
    var clock = Self.clock()
    let minute = Int64(60 * Self.second)
    #expect(Self.read(&clock, at: 1...10) == 0)
    let ahead = Self.read(&clock, at: 11...20, off: -minute)
    // Of sixteen seconds, one is made up for.
    #expect(ahead > -Int64(Self.second) && ahead < 0)
    #expect(clock.aheadNanoseconds > 50 * Self.second)
    #expect(Self.read(&clock, at: 21...1_500, off: -minute) == -minute)
  }

  @Test func whatThePeerLacksAgesByTheMonotonicClock() {
    var ages = UnsentAges(now: 0)
    ages.note(appended: SequenceNumber(5), durable: .none, now: 10)
    ages.note(appended: SequenceNumber(9), durable: .none, now: 20)
    func age(_ durable: UInt64) -> UInt64 {
      ages.age(appended: SequenceNumber(9), durable: SequenceNumber(durable), now: 100)
    }
    #expect([0, 4, 5, 8, 9].map(age) == [100, 100, 90, 90, 0])
    for step in 1...2_000 as ClosedRange<UInt64> {
      ages.note(appended: SequenceNumber(9 + step), durable: .none, now: 100 + step)
    }
    let oldest = ages.age(appended: SequenceNumber(2_009), durable: .none, now: 2_100)
    #expect(oldest == 2_100)
  }
}
