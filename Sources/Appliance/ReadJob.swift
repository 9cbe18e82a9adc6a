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
  let plan: ReadPlan
  let reader: SiteReader
  /// The plan's segments, pinned until the worker has read them.
  let pinned: [Segment<SiteSegmentFile>]

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
      for piece in plan.pieces {
        try append(piece, at: &offset, to: &reply)
      }
    } catch { failure = error }
    for segment in pinned { segment.unpin() }
    let byteCount = failure == nil ? reply.finish() : reply.fail(.io, from: offset)
    return Reply(memory, byteCount: byteCount, failure: failure)
  }

  /// When it throws, `offset` is where the bytes begin that could not be had.
  private func append(
    _ piece: ReadPlan.Piece, at offset: inout UInt64, to reply: inout NBDReadReply
  ) throws(VolumeError) {
    let end = offset + piece.length
    while offset < end {
      let data = dataRange(of: piece, ByteRange(start: offset, end: end))
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
  private func dataRange(of piece: ReadPlan.Piece, _ range: ByteRange) -> ByteRange {
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
}
