import BlockModel
import Journal
import Storage
import SystemIO

/// A follower names what it lacks and says what it has there; the group makes records of what
/// differs, and the follower hears how far that is. See `FollowerLack`.
extension SendingStream {
  /// It names ranges in order, each on a disk that is here, and as many as there may be; then says
  /// that this was all. Before `begin` it can have named nothing.
  mutating func takeLacking(_ frame: LinkFrame, _ body: [UInt8]) throws(LinkError) {
    guard var named = lacking else { throw .protocolViolation("unexpected \(frame.kind)") }
    lacking = nil
    if frame.kind == .lacking {
      for extent in try LinkMessage.decodeLacking(body) {
        // Of a disk that has left, no record is made.
        let end = hello.disks[extent.disk]?.byteCount ?? .max
        guard extent.range.end <= end, named.extents.append(extent) else {
          throw .protocolViolation("what the peer lacks is not in order, or lies outside of a disk")
        }
      }
      lacking = named
      return
    }
    guard frame.argument == UInt64(named.extents.extents.count) else {
      throw .protocolViolation(
        "the peer lacks \(frame.argument) ranges, and has named \(named.extents.extents.count)")
    }
    hasNamedLacking = true
    monitor.lack.ask(
      named.extents, after: named.after, exactAfter: try LinkMessage.decodeOwnerMark(body))
  }

  /// What it has of these ranges, or of those that a full copy compares. Some of it may be on its
  /// way when nothing is lacking any more.
  mutating func takeDigests(_ body: [UInt8], _ heard: UInt64) throws(LinkError) {
    let (digests, position) = try LinkMessage.decodeDigests(body)
    if let comparison {
      try comparison.take(digests, from: position)
      hasHeardDigests = true
      return look(by: heard)
    }
    guard hasNamedLacking else { throw .protocolViolation("unexpected \(LinkFrameKind.digests)") }
    try monitor.lack.take(digests, from: position)
  }

  /// What became durable here since it was told last.
  mutating func tellRestamped() throws(LinkError) {
    if monitor.lack.isGivenUp {
      throw .local("\(monitor.peerSite) is to be compared: nobody knows any more what it lacks")
    }
    switch monitor.lack.news(durable: parts.watermarks.sequence(.durable)) {
    case .reached(let position, let record):
      output.put(
        LinkFrame(.restamped, argument: record.rawValue), LinkMessage.encodePosition(position))
    case .whole(let mark):
      isReconciling = false
      output.put(
        LinkFrame(.reconciled, argument: mark.sequence.rawValue),
        LinkMessage.encodeTimestamp(mark.timestamp))
    case nil: break
    }
  }
}
