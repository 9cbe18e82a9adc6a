/// Everything that is counted over an interval of one disk's writes. The later
/// of two totals less the earlier one gives the counts of the time between them.
struct WriteCounters: Sendable {
  var writes: UInt64 = 0
  var writtenBytes: UInt64 = 0
  var sizes = SizeDistribution()

  /// Writes that belong to a run, and their bytes: see `RunDetector`.
  var sequentialWrites: UInt64 = 0
  var sequentialBytes: UInt64 = 0

  /// Bytes looked up in the `WrittenBlockMemory`, and those of them that it knew.
  var lookedUpBytes: UInt64 = 0
  var overwrittenBytes: UInt64 = 0

  var zeroRequests: UInt64 = 0
  var zeroRequestBytes: UInt64 = 0
  var trimRequests: UInt64 = 0
  var trimmedBytes: UInt64 = 0

  var samples = SampleCounters()

  static func -= (a: inout Self, b: Self) {
    a.writes &-= b.writes
    a.writtenBytes &-= b.writtenBytes
    a.sizes -= b.sizes
    a.sequentialWrites &-= b.sequentialWrites
    a.sequentialBytes &-= b.sequentialBytes
    a.lookedUpBytes &-= b.lookedUpBytes
    a.overwrittenBytes &-= b.overwrittenBytes
    a.zeroRequests &-= b.zeroRequests
    a.zeroRequestBytes &-= b.zeroRequestBytes
    a.trimRequests &-= b.trimRequests
    a.trimmedBytes &-= b.trimmedBytes
    a.samples -= b.samples
  }
}

/// Sums over sampled payloads.
///
/// A sample stands for more than itself: for its whole write when only the beginning was read, and
/// for the writes that were passed over when one in N was taken. Its weight is the bytes it stands
/// for, so the means over a window are those of the written data, not of the quiet moments in which
/// more of it was read (the Horvitz–Thompson estimator).
struct SampleCounters: Sendable {
  /// Steps of `weightedEntropy` per bit. 4096 keep 600 seconds of 900 GB/s inside 64 bits.
  static let entropyStepsPerBit = 4096.0

  var sampledWrites: UInt64 = 0
  /// Payload bytes read and measured.
  var sampledBytes: UInt64 = 0
  /// Samples that the journal had recycled before they were read.
  var recycledSamples: UInt64 = 0

  /// Bytes that the samples stand for; the divisor of the four sums below.
  var weightBytes: UInt64 = 0
  var weightedEntropy: UInt64 = 0
  var weightedCompressedBytes: UInt64 = 0
  var weightedZeroBytes: UInt64 = 0
  var weightedZeroBlockBytes: UInt64 = 0

  /// - Parameter weightBytes: bytes that the sample stands for.
  mutating func add(_ measurement: PayloadMeasurement, weightBytes weight: UInt64) {
    guard measurement.bytes > 0 else { return }
    func scaled(_ part: Int) -> UInt64 {
      let product = weight.multipliedFullWidth(by: UInt64(part))
      return UInt64(measurement.bytes).dividingFullWidth(product).quotient
    }
    sampledWrites &+= 1
    sampledBytes &+= UInt64(measurement.bytes)
    weightBytes &+= weight
    let steps = (measurement.entropyBitsPerByte * Self.entropyStepsPerBit).rounded()
    weightedEntropy &+= weight &* UInt64(steps)
    weightedCompressedBytes &+= scaled(measurement.compressedBytes)
    weightedZeroBytes &+= scaled(measurement.zeroBytes)
    weightedZeroBlockBytes &+= scaled(measurement.zeroBlockBytes)
  }

  static func -= (a: inout Self, b: Self) {
    a.sampledWrites &-= b.sampledWrites
    a.sampledBytes &-= b.sampledBytes
    a.recycledSamples &-= b.recycledSamples
    a.weightBytes &-= b.weightBytes
    a.weightedEntropy &-= b.weightedEntropy
    a.weightedCompressedBytes &-= b.weightedCompressedBytes
    a.weightedZeroBytes &-= b.weightedZeroBytes
    a.weightedZeroBlockBytes &-= b.weightedZeroBlockBytes
  }
}
