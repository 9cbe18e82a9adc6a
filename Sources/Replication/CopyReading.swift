import BlockModel
import Journal
import Storage
import SystemIO

/// Reads what a full copy sends next, a few pieces of a disk, and compares them with what the
/// receiver has said.
final class CopyReading<Store: BackingStore>: LinkWork, @unchecked Sendable {
  struct Piece {
    let disk: DiskNumber
    var range: ByteRange
    let content: Content
    /// It holds at least so much.
    let applied: SequenceNumber
  }

  enum Content: Equatable {
    case zeros
    /// The receiver has the same.
    case alike
    /// Bytes in the slot, from a place in it on.
    case data(slot: Int, place: Int)
  }

  /// Pieces between two looks at the journal.
  private static var burst: Int { 4 }

  private var reader: BaselineReader<Store>
  private let comparison: CopyComparison?
  private let watermarks: Watermarks
  private var pieces: [Piece] = []
  private var sentCount = 0
  private var problem: StorageError?

  init(
    _ stores: [Store?], _ debt: CopyDebt, _ comparison: CopyComparison?, _ watermarks: Watermarks
  ) {
    reader = BaselineReader(stores, debt, comparison, slots: Self.burst)
    self.comparison = comparison
    self.watermarks = watermarks
  }

  override func run() {
    pieces.removeAll(keepingCapacity: true)
    sentCount = 0
    do throws(StorageError) {
      for slot in 0..<Self.burst {
        // The mark first, then the data: what is read holds at least so much.
        let applied = watermarks.sequence(.applied)
        guard let piece = try reader.next(slot: slot) else { break }
        switch piece {
        case .zeros(let disk, let range):
          pieces.append(Piece(disk: disk, range: range, content: .zeros, applied: applied))
          comparison?.passed(DiskPosition(disk, range.end))
        case .data(let disk, let range):
          compare(disk, range, slot, applied)
          comparison?.passed(DiskPosition(disk, range.end))
        }
      }
    } catch { problem = error }
  }

  /// Adds what was read, in parts: what the receiver has, and the rest.
  private func compare(
    _ disk: DiskNumber, _ range: ByteRange, _ slot: Int, _ applied: SequenceNumber
  ) {
    let bytes = unsafe reader.bytes(range, slot: slot)
    func add(_ part: ByteRange, isAlike: Bool) {
      if part.isEmpty { return }
      let place = Int(part.start - range.start)
      let content: Content = isAlike ? .alike : .data(slot: slot, place: place)
      // The first of several holds the least.
      if isAlike, let last = pieces.last, last.content == .alike, last.disk == disk,
        last.range.end == part.start
      {
        pieces[pieces.count - 1].range.length += part.length
      } else {
        pieces.append(Piece(disk: disk, range: part, content: content, applied: applied))
      }
    }
    var rest = range
    for (block, digest) in comparison?.words(disk, in: range) ?? [] {
      let first = Int(block.start - range.start)
      let isAlike = unsafe digest.isDigest(
        of: UnsafeRawBufferPointer(rebasing: bytes[first..<first + Int(block.length)]))
      guard isAlike else { continue }
      add(ByteRange(start: rest.start, end: block.start), isAlike: false)
      add(block, isAlike: true)
      rest = ByteRange(start: block.end, end: range.end)
    }
    add(rest, isAlike: false)
  }

  /// Nothing is read before the receiver has said more.
  var isAwaiting: Bool { reader.isAwaiting }

  /// Everything that was read is taken.
  var isEmpty: Bool { sentCount == pieces.count }

  /// The next piece that was read; nil when all are taken.
  func next() throws(LinkError) -> Piece? {
    if let problem { throw .local("reading a disk for the initial sync: \(problem)") }
    guard sentCount < pieces.count else { return nil }
    sentCount += 1
    return pieces[sentCount - 1]
  }

  /// Valid until the work is given away again.
  func bytes(of piece: Piece) -> UnsafeRawBufferPointer? {
    guard case .data(let slot, let place) = piece.content else { return nil }
    return unsafe reader.bytes(piece.range, slot: slot, from: place)
  }
}
