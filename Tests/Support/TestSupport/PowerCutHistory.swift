/// What may be lost when the power is cut, and what may not.
///
/// A write that was acknowledged with FUA must be there, and so must every write that was
/// acknowledged before a flush was submitted that has been answered. Of the others any may be lost,
/// but only from the end: where a write is there, everything is that was acknowledged before that
/// one was submitted.
extension WriteHistory {
  /// A flush that has not been answered yet.
  public struct Flush: Sendable {
    let submitted: UInt64
  }

  /// Notes that a flush is about to be submitted.
  public func beginFlush() -> Flush { Flush(submitted: wallClockNanoseconds()) }

  /// Notes that a flush has been answered: what was acknowledged before it began is durable.
  public func finish(_ flush: Flush) {
    state.withLock { $0.flushed = max($0.flushed, flush.submitted) }
  }

  /// Everything that was acknowledged before this instant is durable.
  public var flushedInstant: UInt64 { state.withLock { $0.flushed } }

  /// What `image`, read after a power cut, must not be, as lines to read; empty when it is right.
  public func powerCutViolations(in image: [UInt8]) -> [String] {
    let floor = max(newestSubmission(in: image), flushedInstant)
    return violations(in: image, after: floor, before: .max, countsDurable: true)
  }

  /// Takes `image`, in which there are no violations after a power cut, as the verdict on the
  /// writes that had not been made durable: those in it must stay, also at the next cut, since they
  /// have come from the disk; the others must not come back.
  public func settleAfterPowerCut(with image: [UInt8]) {
    let now = wallClockNanoseconds()
    let shown = (0..<sectors).map { TaggedSectors.tag(of: $0, in: image) ?? 0 }
    state.withLock { state in
      for index in state.firstUnsettled..<state.writes.count where !state.writes[index].isDurable {
        let tag = UInt64(index + 1)
        let write = state.writes[index]
        let range = write.first..<write.first + write.count
        // What shows newer writes only was overwritten by them, so it was there.
        if range.contains(where: { shown[$0] < tag }) {
          for sector in range { state.versions[sector].removeAll { $0 == tag } }
        } else {
          state.writes[index].isDurable = true
          if write.acknowledged == nil {
            state.writes[index].acknowledged = now
            state.acknowledgedCount += 1
          }
        }
      }
      state.firstUnsettled = state.writes.count
    }
  }
}
