import BlockModel
import TestSupport
import Testing

/// What an extent map must say, byte by byte, for a small window of a disk.
struct ExtentModel {
  /// Where the window begins on the disk.
  let base: UInt64
  private(set) var bytes: [ExtentSource?]

  init(base: UInt64, size: Int) {
    self.base = base
    bytes = Array(repeating: nil, count: size)
  }

  var window: ByteRange { ByteRange(start: base, length: UInt64(bytes.count)) }
  var mappedBytes: UInt64 { UInt64(bytes.count { $0 != nil }) }

  mutating func insert(_ range: ByteRange, _ source: ExtentSource) {
    let first = Int(range.start - base)
    for index in 0..<Int(range.length) {
      bytes[first + index] = source.advanced(by: UInt64(index))
    }
  }

  /// The first byte in which pieces differ from the model; nil when all agree and cover `range`.
  func firstMismatch(
    in range: ByteRange, pieces: [(range: ByteRange, source: ExtentSource?)]
  ) -> UInt64? {
    var offset = range.start
    for piece in pieces {
      guard piece.range.start == offset, !piece.range.isEmpty else { return offset }
      for index in 0..<piece.range.length {
        let expected = bytes[Int(offset + index - base)]
        guard expected == piece.source?.advanced(by: index) else { return offset + index }
      }
      offset = piece.range.end
    }
    return offset == range.end ? nil : offset
  }
}

/// A kind of random write load.
struct WriteMix: Sendable, CustomTestStringConvertible {
  let name: String
  let lengths: [ClosedRange<UInt64>]
  var zerosPercent: UInt64 = 5
  /// Starts and lengths are multiples of this.
  var alignment: UInt64 = 1

  var testDescription: String { name }

  static let all = [
    WriteMix(name: "tiny", lengths: [1...4]),
    WriteMix(name: "tiny and huge", lengths: [1...3, 1...3, 1...3, 1...3, 1...6_000]),
    WriteMix(name: "medium", lengths: [1...200, 50...600]),
    WriteMix(name: "aligned, often the same", lengths: [16...16], alignment: 16),
    WriteMix(name: "aligned runs", lengths: [16...16, 16...160], alignment: 16),
    WriteMix(name: "mostly zeros", lengths: [1...8, 1...300], zerosPercent: 70),
  ]

  /// A write inside `window`; each has a source position of its own.
  func write(
    _ generator: inout SeededGenerator, in window: ByteRange, number: Int
  ) -> (range: ByteRange, source: ExtentSource) {
    let wanted = UInt64.random(in: lengths[generator.below(lengths.count)], using: &generator)
    let length = max(min(wanted, window.length) / alignment, 1) * alignment
    let places = (window.length - length) / alignment
    let start = window.start + UInt64.random(in: 0...places, using: &generator) * alignment
    let source: ExtentSource =
      if generator.chance(zerosPercent) {
        generator.chance(50) ? .zeros : .hole
      } else {
        ExtentSource(segment: UInt32(number % 7 + 1), position: UInt32(number) * 8_192)
      }
    return (ByteRange(start: start, length: length), source)
  }
}

extension ExtentMap {
  func pieces(in range: ByteRange) -> [(range: ByteRange, source: ExtentSource?)] {
    var pieces: [(range: ByteRange, source: ExtentSource?)] = []
    forEachPiece(in: range) { pieces.append(($0, $1)) }
    return pieces
  }

  /// The same by the reader's loop.
  func piecesOneByOne(in range: ByteRange) -> [(range: ByteRange, source: ExtentSource?)] {
    var pieces: [(range: ByteRange, source: ExtentSource?)] = []
    var offset = range.start
    while offset < range.end {
      let piece = piece(at: offset, limit: range.end - offset)
      pieces.append((ByteRange(start: offset, length: piece.length), piece.source))
      offset += piece.length
    }
    return pieces
  }

  var extents: [Extent] {
    var extents: [Extent] = []
    forEachExtent { extents.append($0) }
    return extents
  }
}

extension SealedExtentMap {
  func pieces(in range: ByteRange) -> [(range: ByteRange, source: ExtentSource?)] {
    var pieces: [(range: ByteRange, source: ExtentSource?)] = []
    forEachPiece(in: range) { pieces.append(($0, $1)) }
    return pieces
  }

  /// The same by the reader's loop.
  func piecesOneByOne(in range: ByteRange) -> [(range: ByteRange, source: ExtentSource?)] {
    var pieces: [(range: ByteRange, source: ExtentSource?)] = []
    var offset = range.start
    while offset < range.end {
      let piece = piece(at: offset, limit: range.end - offset)
      pieces.append((ByteRange(start: offset, length: piece.length), piece.source))
      offset += piece.length
    }
    return pieces
  }

  var extents: [Extent] { (0..<count).map { self[$0] } }
}

/// Whether two lists of pieces are the same.
func areEqual(
  _ a: [(range: ByteRange, source: ExtentSource?)],
  _ b: [(range: ByteRange, source: ExtentSource?)]
) -> Bool {
  a.elementsEqual(b) { $0.range == $1.range && $0.source == $1.source }
}
