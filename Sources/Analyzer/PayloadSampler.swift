import BlockModel

/// Chooses the writes whose payloads are read, so that a run reads no more than its budget.
///
/// Every write draws a random number. As long as all fit the budget, all are chosen. When one more
/// would not fit, the share is halved: those whose number says so are dropped, and so are later
/// ones. So every write of a run has the same chance, 1 in 2^n, whatever its place in a periodic
/// pattern, and no more is remembered than the budget allows.
struct PayloadSampler: Sendable {
  /// Samples of one run; bounds the memory when writes are tiny.
  static let maximumSamples = 4096

  struct Sample: Sendable {
    var observation: WriteObservation
    /// Bytes to read: the beginning of the payload.
    var bytes: Int
    fileprivate var lot: UInt32
  }

  private(set) var samples: [Sample] = []
  private var chosenBytes = 0
  private var budgetBytes = 0
  private var halvings: UInt32 = 0
  private var randomState: UInt64

  /// - Parameter seed: any number; equal seeds choose equally.
  init(seed: UInt64 = 0x5DEE_CE66_D1CE_B00B) { randomState = seed | 1 }

  /// One write in this many is chosen.
  var oneIn: UInt64 { 1 << UInt64(halvings) }

  mutating func begin(budgetBytes: Int) {
    samples.removeAll(keepingCapacity: true)
    chosenBytes = 0
    self.budgetBytes = max(budgetBytes, 0)
    halvings = 0
  }

  @inline(__always)
  mutating func consider(_ observation: WriteObservation) {
    guard observation.kind == .write, observation.length > 0, budgetBytes > 0 else { return }
    let lot = nextLot()
    guard isChosen(lot) else { return }
    choose(observation, lot: lot)
  }

  private mutating func choose(_ observation: WriteObservation, lot: UInt32) {
    let bytes = min(Int(observation.length), PayloadMeter.maximumSampleBytes, budgetBytes)
    while samples.count == Self.maximumSamples || chosenBytes + bytes > budgetBytes {
      guard halvings < 31 else { return }
      halve()
      guard isChosen(lot) else { return }
    }
    chosenBytes += bytes
    samples.append(Sample(observation: observation, bytes: bytes, lot: lot))
  }

  private mutating func halve() {
    halvings += 1
    let shift = 32 - halvings
    samples.removeAll { $0.lot >> shift != 0 }
    chosenBytes = samples.reduce(0) { $0 + $1.bytes }
  }

  @inline(__always)
  private func isChosen(_ lot: UInt32) -> Bool { lot >> (32 - halvings) == 0 }

  /// The xorshift64* generator (Vigna, 2016), high half.
  @inline(__always)
  private mutating func nextLot() -> UInt32 {
    randomState ^= randomState >> 12
    randomState ^= randomState << 25
    randomState ^= randomState >> 27
    return UInt32(truncatingIfNeeded: (randomState &* 0x2545_F491_4F6C_DD1D) >> 32)
  }
}
