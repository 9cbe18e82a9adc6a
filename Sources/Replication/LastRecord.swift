import BlockModel
import Journal
import SystemIO

/// The newest record of a site, so that the other one can tell whether it has the same one.
public struct LastRecord: Equatable, Sendable {
  public var sequence: SequenceNumber
  public var timestamp: Timestamp
  /// Where it begins in the stream, and its checksum; segment 0: no segment there holds it.
  public var position: StreamPosition
  public var checksum: UInt32

  public init(
    _ sequence: SequenceNumber, _ timestamp: Timestamp,
    position: StreamPosition = StreamPosition(argument: 0), checksum: UInt32 = 0
  ) {
    self.sequence = sequence
    self.timestamp = timestamp
    self.position = position
    self.checksum = checksum
  }

  public var mark: JournalState.Mark { .init(sequence, timestamp) }

  /// Of a journal that may be written to meanwhile. Reads 28 bytes of the segment; any thread.
  public static func newest<File: JournalFile>(
    _ catalog: SegmentCatalog<File>, _ watermarks: Watermarks
  ) -> LastRecord {
    // A few rounds: what is read must be of one commit.
    for _ in 0..<8 {
      let sequence = watermarks.sequence(.appended)
      let position = StreamPosition(argument: watermarks[.appendedPosition])
      let timestamp = Timestamp(rawValue: watermarks[.appendedTimestamp])
      guard position.segment > 0, let found = stamp(at: position, catalog) else { break }
      if found.timestamp == timestamp, watermarks.sequence(.appended) == sequence {
        return LastRecord(sequence, timestamp, position: position, checksum: found.checksum)
      }
    }
    return LastRecord(
      watermarks.sequence(.appended), Timestamp(rawValue: watermarks[.appendedTimestamp]))
  }

  /// What a journal has where another site has this record.
  public enum Match: Equatable, Sendable { case same, other, unknown }

  /// - Parameter incarnation: the one that stamped it there.
  public func match<File: JournalFile>(
    in catalog: SegmentCatalog<File>, of incarnation: IncarnationIdentifier?
  ) -> Match {
    guard position.segment > 0, let segment = catalog.pinned(position.segment) else {
      return .unknown
    }
    defer { segment.unpin() }
    guard segment.header.incarnation.identifier == incarnation else { return .unknown }
    guard let own = Self.stamp(at: position, catalog) else { return .other }
    return own == (timestamp, checksum) ? .same : .other
  }

  private static func stamp<File: JournalFile>(
    at position: StreamPosition, _ catalog: SegmentCatalog<File>
  ) -> (timestamp: Timestamp, checksum: UInt32)? {
    guard let segment = catalog.pinned(position.segment) else { return nil }
    defer { segment.unpin() }
    guard Int(position.offset) + RecordHeader.byteCount <= segment.end else { return nil }
    var bytes = [UInt8](repeating: 0, count: RecordHeader.byteCount)
    return unsafe bytes.withUnsafeMutableBytes { buffer in
      guard
        (try? unsafe segment.file.read(into: buffer, at: UInt64(position.offset))) == buffer.count,
        let base = buffer.baseAddress, let header = unsafe RecordHeader(parsing: base)
      else { return nil }
      let checksum = unsafe UInt32(bigEndian: base.loadUnaligned(as: UInt32.self))
      return (header.timestamp, checksum)
    }
  }
}

extension WireEncoder {
  mutating func put(_ last: LastRecord) {
    put(last.sequence.rawValue)
    put(last.timestamp.rawValue)
    put(last.position.argument)
    put(last.checksum)
  }
}

extension WireDecoder {
  mutating func takeLastRecord() throws(Failure) -> LastRecord {
    LastRecord(
      SequenceNumber(try take()), Timestamp(rawValue: try take()),
      position: StreamPosition(argument: try take()), checksum: try take())
  }
}
