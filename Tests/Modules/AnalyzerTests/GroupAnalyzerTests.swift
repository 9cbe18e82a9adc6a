import BlockModel
import Foundation
import Testing

@testable import Analyzer

/// Proves that what passes the queue reaches the right disk's figures, that reading keeps its
/// budget, that snapshots are safe and complete, and that a clock set back does no harm.
@Suite struct GroupAnalyzerTests {
  private let queue = ObservationQueue(capacity: 4096)
  private let analyzer: GroupAnalyzer

  init() {
    analyzer = GroupAnalyzer(
      disks: [
        .init(number: DiskNumber(0), name: "root", sizeBytes: 1 << 30),
        .init(number: DiskNumber(1), name: "data", sizeBytes: 1 << 34),
      ], queue: queue)
  }

  private func offerBlocks(_ count: UInt64) {
    for block in 0..<count { queue.offer(observation(offset: block * 4096)) }
  }

  private func window(
    _ seconds: Int, disk: Int = 0, at now: Timestamp = instant(1)
  ) -> WindowSnapshot {
    analyzer.snapshot(at: now).disks[disk].window(seconds)
  }

  @Test func observationsReachTheirDisk() {
    var reader = PatternReader([1])
    for _ in 0..<3 { queue.offer(observation(disk: 0)) }
    for _ in 0..<5 { queue.offer(observation(disk: 1)) }
    queue.offer(observation(disk: 2))
    #expect(analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 0) == 9)
    let snapshot = analyzer.snapshot(at: instant(0.1))
    #expect(snapshot.disks.map(\.name) == ["root", "data"])
    #expect(snapshot.disks.map(\.total.writes) == [3, 5])
    #expect(snapshot.unknownDiskRequests == 1)
    #expect(snapshot.acceptedRequests == 9)
  }

  @Test func aDiskThatHasGrownIsKnownToItsEnd() {
    var reader = PatternReader([1])
    queue.offer(observation(offset: 8192))
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 0)
    analyzer.grow(disk: DiskNumber(0), to: 3 << 30)
    // The last range of 1 MiB, once overwritten.
    for _ in 0..<2 { queue.offer(observation(offset: 3 << 30 - 4096)) }
    analyzer.run(once: instant(0.2), reader: &reader, budgetBytes: 0)
    let disks = analyzer.snapshot(at: instant(0.2)).disks
    #expect(disks.map(\.sizeBytes) == [3 << 30, 1 << 34])
    #expect(disks[0].total.writes == 3)
    #expect(disks[0].hottestRanges.first?.startBytes == 3 << 30 - 1 << 20)
    #expect(disks[0].hottestRanges.first?.lengthBytes == 1 << 20)
    #expect(disks[0].window(10).overwriteShare == 1.0 / 3)
  }

  @Test func `disks come, leave, and have other numbers from the next run on`() {
    var reader = PatternReader([1])
    func names(_ seconds: Double) -> [String] {
      analyzer.run(once: instant(seconds), reader: &reader, budgetBytes: 0)
      return analyzer.snapshot(at: instant(seconds)).disks.map(\.name)
    }
    analyzer.add(.init(number: DiskNumber(2), name: "log", sizeBytes: 1 << 20))
    analyzer.remove(disk: DiskNumber(0))
    #expect(names(0.1) == ["data", "log"])
    // As when a full copy begins: the numbers are the peer's.
    analyzer.replace(with: [
      .init(number: DiskNumber(1), name: "data", sizeBytes: 1 << 34),
      .init(number: DiskNumber(7), name: "log", sizeBytes: 1 << 20),
    ])
    analyzer.grow(disk: DiskNumber(7), to: 2 << 20)
    #expect(names(0.2) == ["data", "log"])
    #expect(analyzer.snapshot(at: instant(0.2)).disks.map(\.sizeBytes) == [1 << 34, 2 << 20])
    // Of a disk that is not there, or not any more.
    for number in [2, 0, 900] as [UInt16] { analyzer.grow(disk: DiskNumber(number), to: 1 << 40) }
    #expect(names(0.3) == ["data", "log"])
  }

  @Test(arguments: [(.max, 0.5), (2048 * 8, 0.5), (1024 * 8, 0)] as [(Int, Double)])
  func aSmallerShareOfMemoryKnowsFewerBlocks(byteLimit: Int, share: Double) {
    var reader = PatternReader([1])
    for seconds in [0.1, 0.2] {
      offerBlocks(2048)
      analyzer.run(
        once: instant(seconds), reader: &reader, budgetBytes: 0, writtenBytesLimit: byteLimit)
    }
    #expect(window(10).overwriteShare == share)
  }

  @Test func aShareThatShrinksForgetsAndGoesOn() {
    var reader = PatternReader([1])
    for (seconds, byteLimit) in [(0.1, Int.max), (0.2, 8 << 10), (0.3, 8 << 10)] {
      offerBlocks(512)
      analyzer.run(
        once: instant(seconds), reader: &reader, budgetBytes: 0, writtenBytesLimit: byteLimit)
    }
    #expect(window(10).overwriteShare == 1.0 / 3)
  }

  @Test func everyPayloadIsReadWhenTheBudgetSuffices() {
    var reader = PatternReader(randomBytes(4096))
    offerBlocks(100)
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 1 << 20)
    #expect(reader.readBytes == 100 * 4096)
    #expect(window(10).sampledWriteShare == 1)
    #expect(window(10).sampledByteShare == 1)
    #expect(window(10).entropyBitsPerByte! > 7.9)
    #expect(window(10).lz4Ratio == 1)
  }

  @Test func readingKeepsItsBudgetAtAHighRate() {
    var reader = PatternReader(randomBytes(4096))
    offerBlocks(4000)
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 256 * 1024)
    #expect(reader.readBytes <= 256 * 1024)
    #expect(window(10).sampledBytes == UInt64(reader.readBytes))
    #expect(window(10).sampledByteShare == Double(reader.readBytes) / (4000 * 4096))
    #expect(window(10).writes == 4000)
  }

  @Test func meansAreThoseOfTheWrittenDataNotOfTheSampledData() {
    var zeros = PatternReader([0])
    offerBlocks(100)
    analyzer.run(once: instant(0.1), reader: &zeros, budgetBytes: 1 << 20)
    var random = PatternReader(randomBytes(4096))
    offerBlocks(4000)
    analyzer.run(once: instant(0.2), reader: &random, budgetBytes: 256 * 1024)
    // 100 zeros read in full and 4000 random writes read in part: 4000/4100 · 7.95 bits.
    #expect(window(10).sampledWrites < 200)
    #expect(window(10).entropyBitsPerByte! > 7.5)
    #expect(window(10).zeroBlockShare! < 0.05)
  }

  @Test func onlyTheBeginningOfALongPayloadIsRead() {
    var reader = PatternReader(textBytes(16_384))
    queue.offer(observation(length: 1 << 20))
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 1 << 20)
    #expect(reader.longestRead == PayloadMeter.maximumSampleBytes)
    #expect(window(10).sampledWriteShare == 1)
    #expect(window(10).sampledByteShare == 1.0 / 64)
  }

  @Test func recycledPayloadIsCountedAndNoError() {
    var reader = PatternReader([7])
    reader.firstLivingSegment = 5
    for segment in 0..<10 as Range<UInt32> {
      queue.offer(observation(source: ExtentSource(segment: segment, position: 0)))
    }
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 1 << 20)
    #expect(window(10).recycledSamples == 5)
    #expect(window(10).sampledWrites == 5)
    #expect(analyzer.snapshot(at: instant(1)).disks[0].total.recycledSamples == 5)
  }

  @Test func writeOfZerosNeedsNoReader() {
    var reader = PatternReader([7])
    queue.offer(observation(source: .zeros))
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 1 << 20)
    #expect(reader.reads == 0)
    #expect(window(10).zeroBlockShare == 1)
    #expect(window(10).entropyBitsPerByte == 0)
  }

  @Test func skippedRequestsAreInTheSnapshot() {
    var reader = PatternReader([1])
    for _ in 0..<5000 { queue.offer(observation(length: 10)) }
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 0)
    let snapshot = analyzer.snapshot(at: instant(1))
    #expect(snapshot.queueCapacityRequests == 4096)
    #expect(snapshot.acceptedRequests == 4096)
    #expect(snapshot.skippedRequests == 904)
    #expect(snapshot.skippedBytes == 9040)
    #expect(snapshot.disks[0].total.writes == 4096)
  }

  @Test func windowsForgetWhileNothingIsWritten() {
    var reader = PatternReader([1])
    queue.offer(observation(at: 0))
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 0)
    #expect(window(1).writes == 1)
    analyzer.run(once: instant(2), reader: &reader, budgetBytes: 0)
    #expect(window(1).writes == 0)
    #expect(window(10).writes == 1)
  }

  @Test func snapshotSaysHowOldItIs() {
    var reader = PatternReader([1])
    #expect(analyzer.snapshot(at: instant(0)).analyzedAtNanoseconds == 0)
    analyzer.run(once: instant(1), reader: &reader, budgetBytes: 0)
    #expect(analyzer.snapshot(at: instant(3.5)).ageSeconds == 2.5)
    #expect(analyzer.snapshot(at: instant(0)).ageSeconds == 0)
  }

  @Test func clockSetBackNeitherFreezesNorForgets() {
    var reader = PatternReader([1])
    queue.offer(observation(at: 3600))
    analyzer.run(once: instant(3600), reader: &reader, budgetBytes: 0)
    // The clock loses an hour; the group's stamps stay ahead and creep on.
    queue.offer(observation(at: 3600.000_001))
    analyzer.run(once: instant(0), reader: &reader, budgetBytes: 0)
    #expect(window(1).writes == 2)
    queue.offer(observation(at: 3600.000_002))
    analyzer.run(once: instant(0.5), reader: &reader, budgetBytes: 0)
    #expect(window(1).writes == 3)
    analyzer.run(once: instant(1.2), reader: &reader, budgetBytes: 0)
    #expect(window(1).writes == 1)
    analyzer.run(once: instant(2), reader: &reader, budgetBytes: 0)
    #expect(window(1).writes == 0)
    #expect(window(10).writes == 3)
  }

  @Test func snapshotSurvivesJSONWithUnitsInItsKeys() throws {
    var reader = PatternReader(textBytes(4096))
    offerBlocks(10)
    analyzer.run(once: instant(0.1), reader: &reader, budgetBytes: 1 << 20)
    let snapshot = analyzer.snapshot(at: instant(1))
    let json = try JSONEncoder().encode(snapshot)
    #expect(try JSONDecoder().decode(GroupAnalysisSnapshot.self, from: json) == snapshot)
    let text = try #require(String(bytes: json, encoding: .utf8))
    for key in [
      "age_seconds", "skipped_requests", "skipped_bytes", "window_seconds", "writes_per_second",
      "written_bytes_per_second", "size_distribution", "sequential_write_share", "overwrite_share",
      "entropy_bits_per_byte", "lz4_ratio", "zero_byte_share", "hottest_ranges", "trimmed_bytes",
      "sampled_byte_share",
    ] {
      #expect(text.contains("\"\(key)\":"), "\(key) is missing")
    }
    #expect(text.firstMatch(of: /"[a-z0-9]+[A-Z]\w*":/) == nil)
  }

  @Test func snapshotsAreWholeWhileTheThreadRuns() {
    let (queue, analyzer) = (queue, analyzer)
    let runs = 2000
    let done = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      var reader = PatternReader([1])
      for run in 1...runs {
        queue.offer(observation(at: Double(run) / 1000, disk: 0))
        queue.offer(observation(at: Double(run) / 1000, disk: 1))
        analyzer.run(once: instant(Double(run) / 1000), reader: &reader, budgetBytes: 0)
      }
      done.signal()
    }
    let deadline = ContinuousClock.now + .seconds(60)
    var last: UInt64 = 0
    while last < UInt64(runs) && ContinuousClock.now < deadline {
      let disks = analyzer.snapshot(at: instant(0)).disks
      #expect(disks[0].total.writes == disks[1].total.writes)
      #expect(disks[0].total.writes >= last)
      last = disks[0].total.writes
    }
    #expect(last == UInt64(runs))
    #expect(done.wait(timeout: .now() + 60) == .success)
  }
}
