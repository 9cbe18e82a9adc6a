import BlockModel
import TestSupport

@testable import Analyzer

// Synthetic writes, payloads and readers that the suites share.

/// A multiple of every window's slot, so that tests can name the instants at which slots end.
let epochSeconds: UInt64 = 1_700_000_400

func instant(_ seconds: Double) -> Timestamp {
  Timestamp(nanoseconds: epochSeconds * 1_000_000_000 + UInt64((seconds * 1e9).rounded()))
}

func observation(
  at seconds: Double = 0, offset: UInt64 = 0, length: UInt32 = 4096, disk: UInt16 = 0,
  kind: WriteObservation.Kind = .write, source: ExtentSource = ExtentSource(segment: 1, position: 0)
) -> WriteObservation {
  WriteObservation(
    timestamp: instant(seconds), offset: offset, source: source, length: length,
    disk: DiskNumber(disk), kind: kind)
}

func randomBytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var generator = SeededGenerator(seed: seed)
  return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
}

func textBytes(_ count: Int) -> [UInt8] {
  let words = ["the", "disk", "as", "it", "was", "at", "any", "instant", "journal", "record"]
  var generator = SeededGenerator(seed: 2)
  var text: [UInt8] = []
  while text.count < count { text += Array((words.randomElement(using: &generator)! + " ").utf8) }
  return Array(text.prefix(count))
}

/// Serves the same bytes for every payload, except for segments that are "recycled".
struct PatternReader: PayloadReader {
  var pattern: [UInt8]
  var firstLivingSegment: UInt32 = 0
  var readBytes = 0
  var longestRead = 0
  var reads = 0

  init(_ pattern: [UInt8]) { self.pattern = pattern }

  mutating func read(
    _ source: ExtentSource, length: Int, into buffer: UnsafeMutableRawBufferPointer
  ) -> Bool {
    guard source.segment >= firstLivingSegment else { return false }
    reads += 1
    readBytes += length
    longestRead = max(longestRead, length)
    for index in 0..<length { unsafe buffer[index] = pattern[index % pattern.count] }
    return true
  }
}

extension DiskAnalysisSnapshot {
  func window(_ seconds: Int) -> WindowSnapshot { windows.first { $0.windowSeconds == seconds }! }
}
