import BlockModel
import TestSupport
import Testing

@testable import Analyzer

/// Proves the figures of one disk, end to end, on streams whose shares are known exactly.
@Suite struct DiskAnalysisTests {
  private static let diskBytes: UInt64 = 1 << 30

  private func analyze(_ observations: some Sequence<WriteObservation>) -> WindowSnapshot {
    var disk = DiskAnalysis(sizeBytes: Self.diskBytes)
    for observation in observations { disk.record(observation) }
    return disk.snapshot(name: "disk").window(10)
  }

  @Test func sequentialStream() {
    let window = analyze((0..<1000).map { observation(offset: $0 * 4096) })
    #expect(window.writes == 1000)
    #expect(window.writtenBytes == 4_096_000)
    #expect(window.sequentialWriteShare == 1)
    #expect(window.sequentialByteShare == 1)
    #expect(window.overwriteShare == 0)
  }

  @Test func scatteredStream() {
    var blocks = Array((0..<1000 as Range<UInt64>).map { $0 * 2 })
    var generator = SeededGenerator(seed: 4)
    blocks.shuffle(using: &generator)
    let window = analyze(blocks.map { observation(offset: $0 * 4096) })
    #expect(window.sequentialWriteShare == 0)
    #expect(window.overwriteShare == 0)
  }

  @Test func halfOfTheBytesOverwriteTheOtherHalf() {
    let lap = (0..<500).map { observation(offset: $0 * 8192) }
    #expect(analyze(lap + lap).overwriteShare == 0.5)
  }

  @Test func sequentialSharesByWriteAndByByteDiffer() {
    let scattered = (0..<100).map { observation(offset: (1000 + $0 * 2) * 4096) }
    let stream = (0..<100).map { observation(offset: $0 * 12_288, length: 12_288) }
    let window = analyze(scattered + stream)
    #expect(window.sequentialWriteShare == 0.5)
    #expect(window.sequentialByteShare == 0.75)
  }

  @Test(
    arguments: zip(
      [0, 1, 512, 513, 4095, 4096, 4097, 1 << 25, (1 << 25) + 1, .max] as [UInt32],
      [0, 0, 0, 1, 3, 3, 4, 16, 17, 17]))
  func sizeFallsIntoTheBucketThatBoundsIt(length: UInt32, bucket: Int) {
    let sizes = analyze([observation(length: length)]).sizeDistribution
    #expect(sizes.indices.filter { sizes[$0].writes == 1 } == [bucket])
    #expect(sizes.reduce(0) { $0 + $1.writes } == 1)
    if let bound = sizes[bucket].upToBytes { #expect(UInt64(length) <= bound) }
    if bucket > 0, let below = sizes[bucket - 1].upToBytes { #expect(UInt64(length) > below) }
  }

  @Test func zeroesAndTrimsAreCountedApart() {
    let window = analyze([
      observation(length: 100), observation(length: 2000, kind: .zero),
      observation(length: 30_000, kind: .trim), observation(length: 1, kind: .trim),
    ])
    #expect(window.writes == 1)
    #expect(window.writtenBytes == 100)
    #expect((window.zeroRequests, window.zeroRequestBytes) == (1, 2000))
    #expect((window.trimRequests, window.trimmedBytes) == (2, 30_001))
  }

  @Test func silenceHasNoShares() {
    let window = analyze([])
    #expect(window.writesPerSecond == 0)
    #expect(window.sequentialWriteShare == nil)
    #expect(window.overwriteShare == nil)
    #expect(window.entropyBitsPerByte == nil)
    #expect(window.lz4Ratio == nil)
    #expect(window.sampledWriteShare == nil)
  }

  @Test func meansAreWeightedByWhatASampleStandsFor() throws {
    var disk = DiskAnalysis(sizeBytes: Self.diskBytes)
    var meter = PayloadMeter()
    for _ in 0..<4 { disk.record(observation()) }
    let zeros = [UInt8](repeating: 0, count: 4096)
    let allValues = (0..<4096).map { UInt8($0 % 256) }
    unsafe zeros.withUnsafeBytes {
      unsafe disk.recordSample(bytes: $0, writeBytes: 4096, oneIn: 1, meter: &meter)
    }
    unsafe allValues.withUnsafeBytes {
      unsafe disk.recordSample(bytes: $0, writeBytes: 4096, oneIn: 3, meter: &meter)
    }
    let window = disk.snapshot(name: "disk").window(1)
    #expect(window.entropyBitsPerByte == 6)
    #expect(window.zeroBlockShare == 0.25)
    #expect(window.zeroByteShare == 0.25 + 0.75 / 256)
    #expect(window.sampledWriteShare == 0.5)
    #expect(window.sampledByteShare == 0.5)
    #expect(try #require(window.lz4Ratio) > 4)
  }

  @Test func incompressibleDataHasRatioOne() {
    var disk = DiskAnalysis(sizeBytes: Self.diskBytes)
    var meter = PayloadMeter()
    let random = randomBytes(4096)
    unsafe random.withUnsafeBytes {
      unsafe disk.recordSample(bytes: $0, writeBytes: 65_536, oneIn: 7, meter: &meter)
    }
    #expect(disk.snapshot(name: "disk").window(600).lz4Ratio == 1)
  }

  @Test func sharesStayInBoundsWhenAWindowCutsARun() {
    var disk = DiskAnalysis(sizeBytes: Self.diskBytes)
    disk.record(observation(at: 0, offset: 0))
    disk.record(observation(at: 5, offset: 4096))
    let window = disk.snapshot(name: "disk").window(1)
    #expect(window.writes == 1)
    #expect(window.sequentialWriteShare == 1)
  }

  @Test func clockGoingBackwardsDoesNoHarm() {
    var disk = DiskAnalysis(sizeBytes: Self.diskBytes)
    disk.record(observation(at: 100, offset: 0))
    disk.record(observation(at: 0, offset: 4096))
    disk.advance(to: .zero)
    disk.record(observation(at: 100.2, offset: 8192))
    let window = disk.snapshot(name: "disk").window(1)
    #expect(window.writes == 3)
    #expect(window.sequentialWriteShare == 1)
  }

  @Test(arguments: [
    observation(offset: .max, length: .max), observation(offset: .max - 4095, length: 4096),
    observation(offset: 0, length: .max), observation(offset: .max - 10, length: 10),
  ])
  func impossibleRangesAreHarmless(request: WriteObservation) {
    let window = analyze([request, request])
    #expect(window.writes == 2)
    #expect(window.writtenBytes == 2 * UInt64(request.length))
  }

  @Test func lastHotRangeEndsWithTheDisk() {
    var disk = DiskAnalysis(sizeBytes: (1 << 20) + 4096)
    disk.record(observation(offset: 1 << 20))
    let hottest = disk.snapshot(name: "disk").hottestRanges
    #expect(hottest.map(\.startBytes) == [1 << 20])
    #expect(hottest.map(\.lengthBytes) == [4096])
  }
}
