import BlockModel
import Journal
import Replication
import Storage
import SystemIO
import Volume

/// Reads what records are to be made of, for `Restamping`, and leaves out what the follower has. On
/// the keeper.
struct PresentReader: Sendable {
  /// What comes next of a disk: all or a part of a block, of which the follower has said what it
  /// has, or a range of any length.
  struct Span: Sendable {
    /// Of which records are to be made, in order; not empty.
    var parts: [ByteRange]
    let said: (block: ByteRange, digest: BlockDigest)?

    var byteCount: UInt64 { parts.reduce(0) { $0 + $1.length } }
  }

  /// Bytes that a record is to be made of: as they are, or zeros.
  struct Part: Sendable {
    let range: ByteRange
    let kind: RecordKind
    /// Of the whole range; empty where all are zeros.
    let content: ArraySlice<UInt8>

    func bytes(_ part: ByteRange) -> ArraySlice<UInt8> {
      if content.isEmpty { return content }
      let first = content.startIndex + Int(part.start - range.start)
      return content[first..<first + Int(part.length)]
    }
  }

  struct Piece: Sendable {
    var parts: [Part] = []
    /// All before it is in `parts`, has a record, or is the same at the follower.
    var end: UInt64
    /// What is the same there.
    var equalByteCount: UInt64 = 0
    var failure: String?
  }

  private static let byteLimit: UInt64 = 128 << 10
  /// Of what is compared.
  private static let comparedByteLimit: UInt64 = 512 << 10
  /// What reads as zeros may be as long as one record can say.
  private static let zeroLimit: UInt64 = 1 << 30
  private static let lookLimit = 256
  /// After so long no other block is looked at: apply waits for the keeper.
  private static let turnNanoseconds: UInt64 = 20_000_000
  /// Zeros between others are told in blocks of so many bytes.
  private static let blockByteCount: UInt64 = 4096

  let content: PresentContent
  /// What later records wrote is left out.
  let common: SequenceNumber
  /// Of one record's payload.
  let byteLimit: UInt64

  /// As much of the spans as one piece is. Blocks.
  func piece(_ spans: [Span]) -> Piece {
    var piece = Piece(end: spans.first?.parts.first?.start ?? 0)
    var left = min(Self.byteLimit, byteLimit)
    var compared: UInt64 = 0
    var looks = 0
    let end = SystemClock.monotonicNanoseconds() + Self.turnNanoseconds
    do {
      for span in spans {
        guard compared < Self.comparedByteLimit, SystemClock.monotonicNanoseconds() < end else {
          break
        }
        if let said = span.said, let end = span.parts.last?.end, try isSame(said, &compared) {
          piece.equalByteCount += span.byteCount
          piece.end = end
          continue
        }
        for part in span.parts {
          piece.end = part.start
          while piece.end < part.end {
            guard left > 0, looks < Self.lookLimit else { return piece }
            looks += 1
            let (length, source) = try content.piece(
              at: piece.end, limit: min(part.end - piece.end, Self.zeroLimit))
            let found = ByteRange(start: piece.end, length: length)
            left -= try add(found, source, left, to: &piece)
          }
        }
      }
    } catch { piece.failure = "\(error)" }
    return piece
  }

  /// Whether the block holds what the follower has.
  private func isSame(
    _ said: (block: ByteRange, digest: BlockDigest), _ compared: inout UInt64
  ) throws -> Bool {
    let bytes = try content.bytes(said.block)
    compared += UInt64(bytes?.count ?? 0)
    let isSame = BlockDigest(of: bytes, byteCount: said.block.length) == said.digest
    #if MUTANTS
      if Mutant.passDifferent.isOn { return true }
    #endif
    return isSame
  }

  /// Adds the range's beginning. Returns how many bytes were read.
  private func add(
    _ range: ByteRange, _ source: ExtentSource?, _ limit: UInt64, to piece: inout Piece
  ) throws -> UInt64 {
    if let source, source.isZeros {
      addZeros(source == .hole ? .trim : .zero, range, to: &piece)
      return 0
    }
    var range = range
    if let source {
      if let segment = content.reader.catalog?.segment(source.segment),
        segment.firstSequence > common
      {
        piece.end = range.end
        return 0
      }
    } else {
      let data = try content.reader.store.nextDataRange(from: range.start, limit: range.end)
      let start = data?.start ?? range.end
      if start > range.start {
        addZeros(.trim, ByteRange(start: range.start, end: start), to: &piece)
        return 0
      }
      range = ByteRange(start: start, end: min(range.end, data?.end ?? range.end))
    }
    range.length = min(range.length, limit)
    addData(range, try content.read(source, range), to: &piece)
    return range.length
  }

  private func addZeros(_ kind: RecordKind, _ range: ByteRange, to piece: inout Piece) {
    piece.parts.append(Part(range: range, kind: kind, content: []))
    piece.end = range.end
  }

  /// Blocks of zeros are told apart.
  private func addData(_ range: ByteRange, _ bytes: [UInt8], to piece: inout Piece) {
    var run: (start: UInt64, isZero: Bool)?
    func end(at offset: UInt64) {
      guard let run, run.start < offset else { return }
      let part = ByteRange(start: run.start, end: offset)
      let first = Int(part.start - range.start)
      piece.parts.append(
        Part(
          range: part, kind: run.isZero ? .zero : .write,
          content: run.isZero ? [] : bytes[first..<first + Int(part.length)]))
    }
    var offset = range.start
    while offset < range.end {
      let next = min(range.end, (offset / Self.blockByteCount + 1) * Self.blockByteCount)
      let block = bytes[Int(offset - range.start)..<Int(next - range.start)]
      let isZero = block.allSatisfy { $0 == 0 }
      if run?.isZero != isZero {
        end(at: offset)
        run = (offset, isZero)
      }
      offset = next
    }
    end(at: range.end)
    piece.end = range.end
  }
}
