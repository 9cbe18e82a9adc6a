import BlockModel
import Journal
import Storage
import SystemIO

/// A record that the peer lacks and that cannot be sent from the journal: its bytes are not what
/// was written.
struct DamagedRecord: Equatable, Sendable, CustomStringConvertible {
  var sequence: SequenceNumber
  var segment: UInt32
  /// Where it begins, or should, in the segment.
  var position: Int

  var description: String { "record \(sequence.rawValue) in segment \(segment) of the journal" }
}

/// Finds damage in segments, and makes records again from the disks that hold what they wrote.
///
/// A record's checksum is over its header and its payload. So when what the header names is read
/// from the disk and the whole verifies, it is the record itself, bit for bit, and nothing of the
/// order is lost. It does not verify where a later record has written there since, or where the
/// header is damaged; then the follower goes on behind it, and is compared.
struct RecordRepair<Store: BackingStore>: ~Copyable {
  /// By number; nil: not here any more.
  let stores: [Store?]
  /// Room for the record that was made last.
  let room = PageBuffer(byteCount: RecordHeader.byteCount + RecordHeader.payloadLimit)

  /// The first of `limit` records from `position` on that does not verify; nil when all do that the
  /// segment has now. Reads them: blocks.
  ///
  /// - Parameter sequence: of the record at `position`.
  func firstDamage(
    in segment: Segment<File>, from position: Int, _ sequence: SequenceNumber,
    limit: UInt64 = .max
  ) throws(LinkError) -> DamagedRecord? {
    let end = segment.end
    if position >= end { return nil }
    let index = sequence.distance(from: segment.firstSequence)
    var scanner = SegmentScanner(
      segment.file, header: segment.header, limit: end, from: position, recordCount: index)
    do throws(Errno) {
      while scanner.recordCount - index < limit, try scanner.next() != nil {}
    } catch { throw .local("reading journal segment \(segment.number): \(error)") }
    if scanner.position >= end || scanner.recordCount - index >= limit { return nil }
    return DamagedRecord(
      sequence: segment.firstSequence.advanced(by: scanner.recordCount), segment: segment.number,
      position: scanner.position)
  }

  /// Of all records from the start of the segment on, the first that is damaged and cannot be made
  /// again. Blocks.
  func firstLoss(in segment: Segment<File>) throws(LinkError) -> DamagedRecord? {
    var (position, sequence) = (SegmentHeader.byteCount, segment.firstSequence)
    while let damage = try firstDamage(in: segment, from: position, sequence) {
      guard let byteCount = restore(damage, in: segment) else { return damage }
      position = damage.position + byteCount
      sequence = damage.sequence.advanced(by: 1)
    }
    return nil
  }

  /// Makes the record again in `room`. Returns its length in bytes; nil when that is not possible.
  /// Blocks.
  func restore(_ damage: DamagedRecord, in segment: Segment<File>) -> Int? {
    let record = unsafe UnsafeMutableRawBufferPointer(
      start: room.base, count: RecordHeader.byteCount)
    guard
      (try? unsafe segment.file.read(into: record, at: UInt64(damage.position))) == record.count,
      let header = unsafe RecordHeader(parsing: room.base), header.kind == .write,
      header.disk.index < stores.count, let store = stores[header.disk.index]
    else { return nil }
    let byteCount = RecordHeader.byteCount + header.payloadByteCount
    guard damage.position + byteCount <= segment.end, header.range.end <= store.byteCount
    else { return nil }
    let payload = unsafe UnsafeMutableRawBufferPointer(
      start: room.base + RecordHeader.byteCount, count: header.payloadByteCount)
    guard (try? unsafe store.read(into: payload, at: header.offset)) != nil else { return nil }
    let index = damage.sequence.distance(from: segment.firstSequence)
    let checksumStart = segment.checksumSeed ^ UInt32(truncatingIfNeeded: index)
    return unsafe header.verifies(room.base, checksumStart: checksumStart) ? byteCount : nil
  }
}
