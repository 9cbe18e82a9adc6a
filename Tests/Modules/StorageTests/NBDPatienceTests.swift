import SystemIO
import Testing

@testable import Storage

/// Proves what a store in a hurry does not wait for any more, and what it does.
@Suite struct NBDPatienceTests {
  /// In a hurry there is no time at all.
  private static func patience() -> NBDPatience {
    var limits = UpstreamLimits()
    limits.hurriedTimeoutSeconds = 0
    return NBDPatience(limits)
  }

  @Test func `without a hurry everything is waited for`() {
    let patience = Self.patience()
    let now = SystemClock.monotonicNanoseconds()
    for wait in [NBDPatience.Wait.connection, .request, .flush, .goodbye] {
      #expect(patience.milliseconds(for: wait, since: now) != nil)
    }
    #expect(!patience.isOver)
  }

  @Test(arguments: [NBDPatience.Wait.connection, .request])
  func `what is not answered in a hurry ends all waits`(wait: NBDPatience.Wait) {
    let patience = Self.patience()
    patience.hurry(sparingFlushes: true)
    let now = SystemClock.monotonicNanoseconds()
    #expect(patience.milliseconds(for: wait, since: now) == nil)
    #expect(patience.isOver && patience.milliseconds(for: .flush, since: now) == nil)
  }

  @Test(arguments: [true, false])
  func `a flush is waited for where it is spared`(isSpared: Bool) {
    let patience = Self.patience()
    patience.hurry(sparingFlushes: isSpared)
    let now = SystemClock.monotonicNanoseconds()
    #expect((patience.milliseconds(for: .flush, since: now) != nil) == isSpared)
    #expect(patience.isOver == !isSpared)
  }

  @Test func `a slow goodbye says nothing of the server`() {
    let patience = Self.patience()
    patience.hurry(sparingFlushes: true)
    let longAgo = SystemClock.monotonicNanoseconds() - 2_000_000_000
    #expect(patience.milliseconds(for: .goodbye, since: longAgo) == nil)
    #expect(!patience.isOver)
  }
}
