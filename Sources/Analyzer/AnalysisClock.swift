import BlockModel

/// The analyzer's time: the caller's clock without its steps back.
///
/// When the clock is set back, the analyzer's time stands still for one run and goes on from there,
/// so windows neither freeze nor forget. A step forward passes as time without writes.
struct AnalysisClock: Sendable {
  private(set) var now = Timestamp.zero
  private var offsetNanoseconds: UInt64 = 0

  mutating func advance(to wallClock: Timestamp) {
    let shifted = shift(wallClock)
    if shifted < now {
      offsetNanoseconds += now.nanoseconds - shifted.nanoseconds
    } else {
      now = shifted
    }
  }

  /// Where an observation belongs. A stamp ahead of the clock counts as now: a group's stamps never
  /// step back, so after its clock did, they are ahead of it.
  @inline(__always)
  func place(_ stamp: Timestamp) -> Timestamp { min(shift(stamp), now) }

  @inline(__always)
  private func shift(_ instant: Timestamp) -> Timestamp {
    let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(offsetNanoseconds)
    return Timestamp(nanoseconds: overflow ? .max : sum)
  }
}
