import BlockModel
import Journal
import Storage
import SystemIO
import Volume

/// Reads what a disk of an owner holds, as of its newest closed record, for `Restamping`: on the
/// keeper, so that the base is between two steps of apply.
struct PresentReader: Sendable {
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
    /// All before it is in `parts`, or has a record.
    var end: UInt64
    var failure: String?
  }

  private static let byteLimit: UInt64 = 128 << 10
  /// What reads as zeros may be as long as one record can say.
  private static let zeroLimit: UInt64 = 1 << 30
  private static let lookLimit = 256
  /// Zeros between others are told in blocks of so many bytes.
  private static let blockByteCount: UInt64 = 4096

  let disk: DiskNumber
  let cover: IndexCover
  let floor: UInt32
  let reader: VolumeReader<SiteSegmentFile, DiskStore>
  /// What later records wrote is left out.
  let common: SequenceNumber
  /// Of one record's payload.
  let byteLimit: UInt64

  /// From the start of the range on, as much as one piece is. Blocks.
  func piece(_ range: ByteRange) -> Piece {
    var piece = Piece(end: range.start)
    var left = min(Self.byteLimit, byteLimit)
    var looks = 0
    do {
      while piece.end < range.end, left > 0, looks < Self.lookLimit {
        looks += 1
        let limit = min(range.end - piece.end, Self.zeroLimit)
        let (length, source) = try cover.pieceWaiting(
          disk: disk, at: piece.end, limit: limit, floor: floor)
        let found = ByteRange(start: piece.end, length: length)
        left -= try add(found, source, left, to: &piece)
      }
    } catch { piece.failure = "\(error)" }
    return piece
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
      if let segment = reader.catalog?.segment(source.segment), segment.firstSequence > common {
        piece.end = range.end
        return 0
      }
    } else {
      let data = try reader.store.nextDataRange(from: range.start, limit: range.end)
      let start = data?.start ?? range.end
      if start > range.start {
        addZeros(.trim, ByteRange(start: range.start, end: start), to: &piece)
        return 0
      }
      range = ByteRange(start: start, end: min(range.end, data?.end ?? range.end))
    }
    range.length = min(range.length, limit)
    addData(range, try read(source, range), to: &piece)
    return range.length
  }

  private func read(_ source: ExtentSource?, _ range: ByteRange) throws(VolumeError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(range.length))
    let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Void, VolumeError> in
      do throws(VolumeError) {
        return .success(try unsafe reader.read(source, at: range.start, into: buffer))
      } catch { return .failure(error) }
    }
    try result.get()
    return bytes
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
