public import BlockModel

/// Everything the analyzer knows about one disk. A pure value in fixed memory (at most 1.1 MiB,
/// for a disk of 512 MiB or more); time is what observations and `advance` say it is.
///
/// An instant earlier than the newest one seen counts as the newest.
public struct DiskAnalysis: Sendable {
  /// Hot ranges in a snapshot.
  public static let hottestRangeCount = 10

  private var sizeBytes: UInt64
  private var writtenBlockLimit = WrittenBlockMemory.maximumPlaces
  private var rates = WindowedRates()
  private var runs = RunDetector()
  private var writtenBlocks: WrittenBlockMemory
  private var hotRanges = HotRanges()

  /// - Parameter sizeBytes: size of the disk.
  public init(sizeBytes: UInt64) {
    self.sizeBytes = sizeBytes
    writtenBlocks = WrittenBlockMemory(diskBytes: sizeBytes)
  }

  /// The disk has become larger. What was written is forgotten if its memory must grow for that:
  /// then fewer overwrites are seen for a while.
  mutating func grow(to sizeBytes: UInt64) {
    self.sizeBytes = sizeBytes
    let larger = WrittenBlockMemory(diskBytes: sizeBytes, placeLimit: writtenBlockLimit)
    if larger.capacity > writtenBlocks.capacity { writtenBlocks = larger }
  }

  /// No more written blocks are remembered from now on. All are forgotten if there were more.
  mutating func limitWrittenBlocks(to limit: Int) {
    if limit == writtenBlockLimit { return }
    writtenBlockLimit = limit
    let fitting = WrittenBlockMemory(diskBytes: sizeBytes, placeLimit: limit)
    if fitting.capacity < writtenBlocks.capacity || writtenBlocks.isEmpty {
      writtenBlocks = fitting
    }
  }

  /// Counts one request. Does not block or allocate.
  @inline(__always)
  public mutating func record(_ observation: WriteObservation) {
    advance(to: observation.timestamp)
    switch observation.kind {
    case .write: recordWrite(start: observation.offset, length: observation.length)
    case .zero:
      rates.total.zeroRequests &+= 1
      rates.total.zeroRequestBytes &+= UInt64(observation.length)
    case .trim:
      rates.total.trimRequests &+= 1
      rates.total.trimmedBytes &+= UInt64(observation.length)
    }
  }

  @inline(__always)
  private mutating func recordWrite(start: UInt64, length: UInt32) {
    rates.total.writes &+= 1
    rates.total.writtenBytes &+= UInt64(length)
    rates.total.sizes.count(length: length)
    let (end, overflow) = start.addingReportingOverflow(UInt64(length))
    guard length > 0, !overflow else { return }

    let run = runs.note(start: start, end: end)
    rates.total.sequentialWrites &+= run.writes
    rates.total.sequentialBytes &+= run.bytes

    let lookedUpBytes = min(UInt64(length), WrittenBlockMemory.maximumLookupBytes)
    rates.total.lookedUpBytes &+= lookedUpBytes
    rates.total.overwrittenBytes &+= writtenBlocks.note(
      start: start, end: start &+ lookedUpBytes, second: rates.currentSecond)
    hotRanges.note(start: start, end: start &+ lookedUpBytes)
  }

  /// Measures the beginning of a write's payload and counts it. Does not block or allocate.
  ///
  /// - Parameters:
  ///   - bytes: the payload's first bytes, `PayloadMeter.maximumSampleBytes` at most are used.
  ///   - writeBytes: length of the whole write.
  ///   - oneIn: the write was chosen from this many on average.
  ///   - meter: the scratch memory to measure with.
  public mutating func recordSample(
    bytes: UnsafeRawBufferPointer, writeBytes: UInt32, oneIn: UInt64, meter: inout PayloadMeter
  ) {
    let measurement = unsafe meter.measure(bytes)
    rates.total.samples.add(measurement, weightBytes: UInt64(writeBytes) &* oneIn)
  }

  /// Counts a payload that was chosen but gone before it could be read.
  public mutating func recordRecycledSample() {
    rates.total.samples.recycledSamples &+= 1
  }

  /// Tells the time, so that windows slide while nothing is written.
  @inline(__always)
  public mutating func advance(to instant: Timestamp) {
    if rates.advance(to: instant) { hotRanges.advance(toSecond: rates.currentSecond) }
  }

  /// The state in the form that `status` shows.
  public func snapshot(name: String) -> DiskAnalysisSnapshot {
    let secondsIntoCurrent = Double(rates.nanosecondsIntoSecond) / 1e9
    let hottest = hotRanges.hottest(
      Self.hottestRangeCount, secondsIntoCurrent: secondsIntoCurrent)
    return DiskAnalysisSnapshot(
      name: name, sizeBytes: sizeBytes,
      total: WriteTotalsSnapshot(rates.total),
      windows: rates.readings().map(WindowSnapshot.init),
      hottestRanges: hottest.map { HotRangeSnapshot($0, diskBytes: sizeBytes) })
  }
}
