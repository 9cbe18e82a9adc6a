import BlockModel
import Foundation
import Synchronization
import Testing

@testable import Analyzer

/// Proves that the queue delivers exactly what it accepted, in order, and counts exactly what it
/// did not, with one thread and with two.
@Suite struct ObservationQueueTests {
  private func drainOffsets(_ queue: ObservationQueue, max limit: Int = .max) -> [UInt64] {
    var offsets: [UInt64] = []
    queue.drain(max: limit) { offsets.append($0.offset) }
    return offsets
  }

  @Test func observationFitsHalfACacheLine() {
    #expect(MemoryLayout<WriteObservation>.stride == 32)
  }

  @Test func everyFieldArrives() {
    let queue = ObservationQueue(capacity: 2)
    let sent = observation(
      at: 3, offset: .max, length: .max, disk: .max, kind: .trim, source: .zeros)
    #expect(queue.offer(sent))
    var received: [WriteObservation] = []
    queue.drain(max: 10) { received.append($0) }
    #expect(received == [sent])
  }

  @Test func fullQueueSkipsAndCountsExactly() {
    let queue = ObservationQueue(capacity: 8)
    let accepted = (0..<11).map { queue.offer(observation(offset: $0, length: 100)) }
    #expect(accepted == Array(repeating: true, count: 8) + Array(repeating: false, count: 3))
    #expect(queue.skipped == SkippedObservations(requests: 3, bytes: 300))
    #expect(queue.accepted == 8)
    #expect(drainOffsets(queue) == Array(0..<8))
  }

  @Test func roomThatWasDrainedIsUsedAgain() {
    let queue = ObservationQueue(capacity: 4)
    for lap in 0..<100 as Range<UInt64> {
      for place in 0..<3 as Range<UInt64> {
        #expect(queue.offer(observation(offset: lap * 3 + place)))
      }
      #expect(drainOffsets(queue) == [lap * 3, lap * 3 + 1, lap * 3 + 2])
    }
    #expect(queue.skipped.requests == 0)
  }

  @Test func drainStopsAtItsLimitAndGoesOnThere() {
    let queue = ObservationQueue(capacity: 4096)
    for offset in 0..<3000 as Range<UInt64> { queue.offer(observation(offset: offset)) }
    #expect(drainOffsets(queue, max: 1500) == Array(0..<1500))
    #expect(!queue.isEmpty)
    #expect(drainOffsets(queue, max: 0) == [])
    #expect(drainOffsets(queue) == Array(1500..<3000))
    #expect(queue.isEmpty)
  }

  @Test func longDrainMakesRoomOnTheWay() {
    let queue = ObservationQueue(capacity: 4096)
    for offset in 0..<4096 as Range<UInt64> { queue.offer(observation(offset: offset)) }
    var acceptedDuringDrain = 0
    queue.drain(max: 4096) { _ in
      if queue.offer(observation()) { acceptedDuringDrain += 1 }
    }
    #expect(acceptedDuringDrain == 3584)
  }

  @Test(arguments: [1, 511, 512, 513, 1024, 1500])
  func whatWaitsMayEndAnywhereInABlock(count: UInt64) {
    let queue = ObservationQueue(capacity: 1500)
    var next: UInt64 = 0
    for _ in 0..<5 {
      for offset in next..<next + count { #expect(queue.offer(observation(offset: offset))) }
      #expect(drainOffsets(queue) == Array(next..<next + count))
      next += count
    }
    // And is freed with the queue.
    for offset in next..<next + count { #expect(queue.offer(observation(offset: offset))) }
    #expect(drainOffsets(queue, max: 1) == [next])
  }

  @Test func memoryThatIsGivenBackIsTakenAgain() {
    let queue = ObservationQueue(capacity: 10_000)
    var next: UInt64 = 0
    for _ in 0..<4 {
      for offset in next..<next + 5000 { #expect(queue.offer(observation(offset: offset))) }
      // Something is written all the time: nothing is given back.
      queue.giveBackIdleMemory()
      #expect(drainOffsets(queue, max: 4000) == Array(next..<next + 4000))
      queue.giveBackIdleMemory()
      #expect(drainOffsets(queue) == Array(next + 4000..<next + 5000))
      next += 5000
    }
  }

  /// - Returns: what the producer saw accepted and refused, and what the consumer got.
  private func race(
    observations: UInt64, capacity: Int, retrying: Bool
  ) -> (accepted: [UInt64], refusedBytes: UInt64, received: [UInt64], queue: ObservationQueue) {
    let queue = ObservationQueue(capacity: capacity)
    let result = Mutex<(accepted: [UInt64], refusedBytes: UInt64)?>(nil)
    let deadline = ContinuousClock.now + .seconds(60)
    Thread.detachNewThread {
      var accepted: [UInt64] = []
      var refusedBytes: UInt64 = 0
      for offset in 0..<observations {
        let length = UInt32(offset % 7)
        var isAccepted = queue.offer(observation(offset: offset, length: length))
        while !isAccepted && retrying && ContinuousClock.now < deadline {
          isAccepted = queue.offer(observation(offset: offset, length: length))
        }
        if isAccepted { accepted.append(offset) } else { refusedBytes += UInt64(length) }
      }
      result.withLock { $0 = (accepted, refusedBytes) }
    }
    var received: [UInt64] = []
    while ContinuousClock.now < deadline {
      let isFinished = result.withLock { $0 != nil }
      let count = queue.drain(max: 300) { received.append($0.offset) }
      if isFinished && count == 0 { break }
    }
    let (accepted, refusedBytes) = result.withLock { $0 } ?? ([], 0)
    return (accepted, refusedBytes, received, queue)
  }

  @Test func twoThreadsLoseNothingThatWasAccepted() {
    let outcome = race(observations: 300_000, capacity: 64, retrying: false)
    #expect(outcome.received == outcome.accepted)
    #expect(outcome.queue.accepted == UInt64(outcome.accepted.count))
    #expect(outcome.queue.skipped.requests == 300_000 - UInt64(outcome.accepted.count))
    #expect(outcome.queue.skipped.bytes == outcome.refusedBytes)
  }

  @Test func twoThreadsKeepTheOrder() {
    let outcome = race(observations: 100_000, capacity: 256, retrying: true)
    #expect(outcome.received == Array(0..<100_000))
  }
}
