/// One disk over one sliding window. Shares and means are nil, and absent from JSON, when there is
/// nothing to take them of.
public struct WindowSnapshot: Codable, Equatable, Sendable {
  /// Length of the window.
  public var windowSeconds: Int
  /// Time that the counts cover: 95–100 % of the window, less while the analyzer is young.
  public var coveredSeconds: Double

  public var writes: UInt64
  public var writtenBytes: UInt64
  public var writesPerSecond: Double
  public var writtenBytesPerSecond: Double
  /// Every bucket, shortest first.
  public var sizeDistribution: [SizeBucketSnapshot]

  /// Share of the writes, and of the written bytes, that belong to sequential runs, 0 ... 1.
  public var sequentialWriteShare: Double?
  public var sequentialByteShare: Double?
  /// Share of the written bytes that were written before within the analyzer's memory, 0 ... 1.
  public var overwriteShare: Double?

  public var zeroRequests: UInt64
  public var zeroRequestBytes: UInt64
  public var trimRequests: UInt64
  public var trimmedBytes: UInt64

  /// What the figures below rest on.
  public var sampledWrites: UInt64
  public var sampledBytes: UInt64
  /// Samples whose payload the journal had recycled before it was read.
  public var recycledSamples: UInt64
  /// Shares of the writes and of the written bytes that were read and measured, 0 ... 1.
  public var sampledWriteShare: Double?
  public var sampledByteShare: Double?

  /// Mean Shannon entropy of the written payloads, 0 ... 8.
  public var entropyBitsPerByte: Double?
  /// Written bytes divided by their size after LZ4, at least 1.
  public var lz4Ratio: Double?
  /// Share of the written bytes whose value is 0, 0 ... 1.
  public var zeroByteShare: Double?
  /// Share of the written bytes in blocks of 4 KiB that hold only zeros, 0 ... 1.
  public var zeroBlockShare: Double?

  enum CodingKeys: String, CodingKey {
    case windowSeconds = "window_seconds"
    case coveredSeconds = "covered_seconds"
    case writes
    case writtenBytes = "written_bytes"
    case writesPerSecond = "writes_per_second"
    case writtenBytesPerSecond = "written_bytes_per_second"
    case sizeDistribution = "size_distribution"
    case sequentialWriteShare = "sequential_write_share"
    case sequentialByteShare = "sequential_byte_share"
    case overwriteShare = "overwrite_share"
    case zeroRequests = "zero_requests"
    case zeroRequestBytes = "zero_request_bytes"
    case trimRequests = "trim_requests"
    case trimmedBytes = "trimmed_bytes"
    case sampledWrites = "sampled_writes"
    case sampledBytes = "sampled_bytes"
    case recycledSamples = "recycled_samples"
    case sampledWriteShare = "sampled_write_share"
    case sampledByteShare = "sampled_byte_share"
    case entropyBitsPerByte = "entropy_bits_per_byte"
    case lz4Ratio = "lz4_ratio"
    case zeroByteShare = "zero_byte_share"
    case zeroBlockShare = "zero_block_share"
  }

  init(_ reading: WindowedRates.Reading) {
    let counters = reading.counters
    let samples = counters.samples
    windowSeconds = reading.seconds
    coveredSeconds = reading.coveredSeconds
    writes = counters.writes
    writtenBytes = counters.writtenBytes
    writesPerSecond = Double(counters.writes) / reading.coveredSeconds
    writtenBytesPerSecond = Double(counters.writtenBytes) / reading.coveredSeconds
    sizeDistribution = (0..<SizeDistribution.bucketCount).map { bucket in
      SizeBucketSnapshot(
        upToBytes: SizeDistribution.upperBound(ofBucket: bucket), writes: counters.sizes[bucket])
    }
    sequentialWriteShare = share(counters.sequentialWrites, of: counters.writes)
    sequentialByteShare = share(counters.sequentialBytes, of: counters.writtenBytes)
    overwriteShare = share(counters.overwrittenBytes, of: counters.lookedUpBytes)
    zeroRequests = counters.zeroRequests
    zeroRequestBytes = counters.zeroRequestBytes
    trimRequests = counters.trimRequests
    trimmedBytes = counters.trimmedBytes
    sampledWrites = samples.sampledWrites
    sampledBytes = samples.sampledBytes
    recycledSamples = samples.recycledSamples
    sampledWriteShare = share(samples.sampledWrites, of: counters.writes)
    sampledByteShare = share(samples.sampledBytes, of: counters.writtenBytes)
    zeroByteShare = share(samples.weightedZeroBytes, of: samples.weightBytes)
    zeroBlockShare = share(samples.weightedZeroBlockBytes, of: samples.weightBytes)
    if samples.weightBytes > 0 {
      let weight = Double(samples.weightBytes)
      entropyBitsPerByte =
        Double(samples.weightedEntropy) / SampleCounters.entropyStepsPerBit / weight
      lz4Ratio = weight / Double(max(samples.weightedCompressedBytes, 1))
    }
  }
}

/// Writes of a range of lengths: longer than the bucket before, up to `upToBytes`.
public struct SizeBucketSnapshot: Codable, Equatable, Sendable {
  /// Nil for the last bucket, which has no bound.
  public var upToBytes: UInt64?
  public var writes: UInt64

  enum CodingKeys: String, CodingKey {
    case upToBytes = "up_to_bytes"
    case writes
  }
}

/// Nil when there is no whole. A part that was counted later than its whole (the first write of a
/// run, a sample) may outlive it in a window, hence the limit.
private func share(_ part: UInt64, of whole: UInt64) -> Double? {
  whole == 0 ? nil : min(Double(part) / Double(whole), 1)
}
