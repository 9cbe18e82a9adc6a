import BlockModel
import Journal
import NBDProtocol
import Storage
import SystemIO
import Volume

/// A READ whose bytes are not in memory: a worker fills in the reply.
struct ReadJob: Sendable {
  let request: NBDRequest
  let headers: NBDHeaderStyle
  let source: Source

  enum Source: Sendable {
    /// The plan's segments are pinned until the worker has read them. With a look-up where the plan
    /// is unresolved.
    case live(ReadPlan, SiteReader, pinned: [Segment<SiteSegmentFile>], ColdLookUp?)
    /// A view sees to it by itself that its segments stay.
    case view(SiteView, DiskNumber)
  }

  /// Carries the reply from the worker to the loop.
  final class Reply: Sendable {
    let memory: PageBuffer
    let byteCount: Int
    let failure: VolumeError?

    init(_ memory: consuming PageBuffer, byteCount: Int, failure: VolumeError?) {
      self.memory = memory
      self.byteCount = byteCount
      self.failure = failure
    }
  }

  /// Blocks.
  func run() -> Reply {
    let memory = PageBuffer(byteCount: NBDReadReply.capacity(length: Int(request.length)))
    var reply = unsafe NBDReadReply(to: request, headers, in: memory.base)
    var offset = request.offset
    var failure: VolumeError?
    do throws(VolumeError) {
      switch source {
      case .live(var plan, let reader, _, let lookUp):
        if let lookUp {
          try plan.resolve { (offset, limit) throws(VolumeError) in
            try lookUp.piece(at: offset, limit: limit)
          }
        }
        for piece in plan.pieces { try append(piece, reader, at: &offset, to: &reply) }
      case .view(let view, let disk):
        try append(view, disk, at: &offset, to: &reply)
      }
    } catch { failure = error }
    if case .live(_, _, let pinned, let lookUp) = source {
      for segment in pinned { segment.unpin() }
      lookUp?.release()
    }
    let byteCount = failure == nil ? reply.finish() : reply.fail(.io, from: offset)
    return Reply(memory, byteCount: byteCount, failure: failure)
  }

  /// When it throws, `offset` is where the bytes begin that could not be had.
  private func append(
    _ piece: ReadPlan.Piece, _ reader: SiteReader, at offset: inout UInt64,
    to reply: inout NBDReadReply
  ) throws(VolumeError) {
    let end = offset + piece.length
    while offset < end {
      let data = dataRange(of: piece, reader, ByteRange(start: offset, end: end))
      if data.start > offset { reply.appendZeros(Int(data.start - offset)) }
      offset = data.start
      if data.isEmpty { continue }
      try unsafe reader.read(
        piece.source?.advanced(by: data.start - (end - piece.length)), at: data.start,
        into: reply.appendData(Int(data.length)))
      if piece.source == nil { reply.foldZeros(Int(data.length)) }
      offset = data.end
    }
  }

  /// What must be read next: all before it is known to be zeros. Empty at the end of the range.
  private func dataRange(
    of piece: ReadPlan.Piece, _ reader: SiteReader, _ range: ByteRange
  ) -> ByteRange {
    if let source = piece.source {
      return source.isZeros ? ByteRange(start: range.end, length: 0) : range
    }
    let isWorthAsking = range.length >= UInt64(NBDReadReply.minimumHoleBytes)
    guard headers != .simple, isWorthAsking, reader.store.tellsHoles else { return range }
    do throws(StorageError) {
      return try reader.store.nextDataRange(from: range.start, limit: range.end)
        ?? ByteRange(start: range.end, length: 0)
    } catch { return range }
  }

  /// Zeros are looked for in pieces of a view.
  private static var viewPieceBytes: UInt64 { 128 << 10 }

  private func append(
    _ view: SiteView, _ disk: DiskNumber, at offset: inout UInt64, to reply: inout NBDReadReply
  ) throws(VolumeError) {
    let end = request.offset + request.length
    while offset < end {
      let length = Int(min(end - offset, Self.viewPieceBytes))
      try unsafe view.read(disk: disk, at: offset, into: reply.appendData(length))
      reply.foldZeros(length)
      offset += UInt64(length)
    }
  }
}
