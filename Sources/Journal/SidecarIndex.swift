import BlockModel
import SystemIO

/// The index of a sealed segment in a file beside it: `segment-00012.index`. With it, opening a
/// journal needs neither to read nor to verify the segment.
///
/// It can always be made again from the segment, so nothing depends on it: a file that does not
/// verify, or is not of the segment that its slot holds now, counts as missing. It is written once
/// the segment is durable and sealed, and need not be durable itself. All integers big-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0–7 | `TAPLIDX1` |
/// | 8–11 | format version, 2 |
/// | 12–15 | byte count of the body |
/// | 16–31 | group identifier |
/// | 32–47 | identity of the incarnation |
/// | 48–55 | segment number |
/// | 56–63 | sequence number of the first record |
/// | 64–71 | number of records, at least 1 |
/// | 72–79 | position of the end of the last record |
/// | 80–87 | timestamp of the first record |
/// | 88–95 | timestamp of the last record |
/// | 96–99 | CRC-32C (standard form) of the body |
/// | 100–123 | zero |
/// | 124–127 | CRC-32C (standard form) of bytes 0–123 |
/// | 128– | body |
///
/// A body of no bytes: a *seal*, which knows where the segment ends and does not index it; enough
/// when all its records are applied.
///
/// The body: a 32-bit count of checkpoints, each a sequence number (64), a timestamp (64) and a tag
/// (16-bit byte count, UTF-8); a 16-bit count of disks, each a 32-bit count of extents; the extents
/// in ascending order, each an offset (64), a length (64), both in bytes, and the position (32) of
/// its first byte in the segment; all ones is zeros, all ones less 1 a hole.
public struct SidecarIndex: Sendable {
  public static let headerByteCount = 128
  public static let magic: UInt64 = 0x5441_504C_4944_5831  // "TAPLIDX1"
  public static let version: UInt32 = 2
  private static let extentByteCount = 20
  private static let zeros = UInt32.max
  private static let hole = UInt32.max - 1

  public let identity: SegmentIdentity
  /// Position of the end of the last record.
  public let end: Int
  /// Of all records of the segment; its maps are flat.
  public let generation: Generation

  public var firstSequence: SequenceNumber { generation.span.firstSequence }
  public var recordCount: UInt64 {
    generation.span.lastSequence.advanced(by: 1).distance(from: firstSequence)
  }

  /// - Parameter generation: the index of all of the segment's records up to `end`, flat.
  init(identity: SegmentIdentity, end: Int, generation: Generation) {
    self.identity = identity
    self.end = end
    self.generation = generation
  }

  /// The longest body. Reading more would hardly be quicker than reading the segment, and records
  /// without payload could make a sidecar larger than it.
  static func byteLimit(segmentByteCount: UInt32) -> UInt32 { segmentByteCount / 4 }

  /// The name of the sidecar of a segment file.
  public static func name(ofSegmentFile name: String) -> String { name + ".index" }

  // MARK: Writing

  public func encoded() -> [UInt8] {
    let seal = SegmentSeal(identity: identity, end: end, span: generation.span)
    return Self.encode(seal, body: encodedBody())
  }

  /// A sidecar without an index.
  static func encode(_ seal: SegmentSeal) -> [UInt8] { encode(seal, body: []) }

  private static func encode(_ seal: SegmentSeal, body: [UInt8]) -> [UInt8] {
    let (identity, span) = (seal.identity, seal.span)
    var encoder = WireEncoder()
    encoder.put(Self.magic)
    encoder.put(Self.version)
    encoder.put(UInt32(body.count))
    encoder.put(identity.group.high)
    encoder.put(identity.group.low)
    encoder.put(identity.incarnation.identifier.high)
    encoder.put(identity.incarnation.identifier.low)
    encoder.put(UInt64(identity.number))
    encoder.put(span.firstSequence.rawValue)
    encoder.put(seal.recordCount)
    encoder.put(UInt64(seal.end))
    encoder.put(span.firstTimestamp.rawValue)
    encoder.put(span.lastTimestamp.rawValue)
    encoder.put(Self.sum(body[...]))
    encoder.pad(to: Self.headerByteCount - 4)
    encoder.put(Self.sum(encoder.bytes[...]))
    return encoder.bytes + body
  }

  private func encodedBody() -> [UInt8] {
    var body = WireEncoder()
    body.put(UInt32(generation.checkpoints.count))
    for checkpoint in generation.checkpoints {
      body.put(checkpoint.sequence.rawValue)
      body.put(checkpoint.timestamp.rawValue)
      body.put(checkpoint.tag)
    }
    let maps = generation.sealedMaps()
    body.put(UInt16(maps.count))
    for map in maps { body.put(UInt32(map.count)) }
    for map in maps {
      for index in 0..<map.count {
        let extent = map[index]
        body.put(extent.start)
        body.put(extent.length)
        switch extent.source {
        case .zeros: body.put(Self.zeros)
        case .hole: body.put(Self.hole)
        default: body.put(extent.source.position)
        }
      }
    }
    return body.bytes
  }

  private static func sum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe CRC32C.standard($0) }
  }

  // MARK: Reading

  public enum Reading: Sendable {
    case whole(SidecarIndex)
    /// It has no index.
    case sealed(SegmentSeal)
    /// Of an earlier use of the slot, or in another version of the format.
    case other
    /// Torn, or not fit for the group's disks.
    case damaged

    /// Of the segment; nil when the file says nothing of it.
    public var recordCount: UInt64? {
      switch self {
      case .whole(let sidecar): sidecar.recordCount
      case .sealed(let seal): seal.recordCount
      case .other, .damaged: nil
      }
    }
  }

  /// What the file tells about the segment with this header. Blocks. Throws when it cannot be read.
  ///
  /// - Parameter disks: sizes in bytes.
  public static func read<File: JournalFile>(
    _ file: File, of header: SegmentHeader, disks: [UInt64]
  ) throws(Errno) -> Reading {
    let (seal, head): (SegmentSeal, [UInt8])
    switch try readHead(file, of: header) {
    case .whole(let found): (seal, head) = found
    case .other: return .other
    case .damaged: return .damaged
    }
    let bodyByteCount = word(head, at: 12)
    if bodyByteCount == 0 { return .sealed(seal) }
    guard bodyByteCount <= byteLimit(segmentByteCount: header.segmentByteCount),
      let body = try bytes(of: file, at: UInt64(headerByteCount), count: Int(bodyByteCount)),
      word(head, at: bodySumPosition) == sum(body[...]),
      let generation = try? generation(body, of: seal, disks: disks)
    else { return .damaged }
    return .whole(SidecarIndex(identity: seal.identity, end: seal.end, generation: generation))
  }

  /// What the sidecar says of the segment with this header but for its index, which is not read and
  /// need not be there or verify; nil when the file is of another segment, or torn. Blocks.
  static func readSeal<File: JournalFile>(
    _ file: File, of header: SegmentHeader
  ) throws(Errno) -> SegmentSeal? {
    if case .whole(let found) = try readHead(file, of: header) { found.seal } else { nil }
  }

  private enum Head {
    case whole((seal: SegmentSeal, bytes: [UInt8]))
    case other, damaged
  }

  private static func readHead<File: JournalFile>(
    _ file: File, of header: SegmentHeader
  ) throws(Errno) -> Head {
    guard let head = try bytes(of: file, at: 0, count: headerByteCount),
      sum(head[..<(headerByteCount - 4)]) == word(head, at: headerByteCount - 4)
    else { return .damaged }
    guard head.starts(with: prefix(of: header.identity, bodyByteCount: word(head, at: 12)))
    else { return .other }
    guard let seal = try? SegmentSeal(decoding: head[fieldsPosition...], of: header) else {
      return .damaged
    }
    return .whole((seal, head))
  }

  private static func bytes<File: JournalFile>(
    of file: File, at offset: UInt64, count: Int
  ) throws(Errno) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    let got = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Int, Errno> in
      do throws(Errno) { return .success(try unsafe file.read(into: buffer, at: offset)) } catch {
        return .failure(error)
      }
    }
    return try got.get() == count ? bytes : nil
  }

  /// Where the fields behind the prefix begin: they are those of `SegmentSeal`, and the sum of the
  /// body.
  private static let fieldsPosition = 56
  private static let bodySumPosition = fieldsPosition + SegmentSeal.byteCount

  /// The first 56 bytes.
  private static func prefix(of identity: SegmentIdentity, bodyByteCount: UInt32) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(magic)
    encoder.put(version)
    encoder.put(bodyByteCount)
    encoder.put(identity.group.high)
    encoder.put(identity.group.low)
    encoder.put(identity.incarnation.identifier.high)
    encoder.put(identity.incarnation.identifier.low)
    encoder.put(UInt64(identity.number))
    return encoder.bytes
  }

  private static func word(_ bytes: [UInt8], at position: Int) -> UInt32 {
    bytes[position..<position + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }

  struct Refused: Error {}

  private static func generation(
    _ body: [UInt8], of seal: SegmentSeal, disks: [UInt64]
  ) throws -> Generation {
    let (segment, end) = (seal.identity.number, UInt64(seal.end))
    var decoder = WireDecoder(body)
    var checkpoints: [Checkpoint] = []
    for _ in 0..<(try decoder.take(UInt32.self)) {
      checkpoints.append(
        Checkpoint(
          sequence: SequenceNumber(try decoder.take()),
          timestamp: Timestamp(rawValue: try decoder.take()), tag: try decoder.takeString()))
    }
    guard Int(try decoder.take(UInt16.self)) == disks.count else { throw Refused() }
    var counts: [Int] = []
    for _ in disks { counts.append(Int(try decoder.take(UInt32.self))) }
    guard decoder.remaining == counts.reduce(0, +) * extentByteCount else { throw Refused() }
    var position = body.count - decoder.remaining
    var maps: [SealedExtentMap] = []
    for (count, byteCount) in zip(counts, disks) {
      var isInside = true
      let map = try SealedExtentMap(checking: count) { _ in
        let (extent, fits) = Self.extent(body, at: position, segment: segment, end: end)
        position += extentByteCount
        isInside = isInside && fits
        return extent
      }
      guard isInside, count == 0 || map[count - 1].end <= byteCount else { throw Refused() }
      maps.append(map)
    }
    return Generation(span: seal.span, checkpoints: checkpoints, maps: maps)
  }

  /// The extent at `position` of the body, and whether its bytes lie inside of the segment.
  private static func extent(
    _ body: [UInt8], at position: Int, segment: UInt32, end: UInt64
  ) -> (Extent, fits: Bool) {
    let words = unsafe body.withUnsafeBytes { bytes in
      unsafe (
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)),
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: position + 8, as: UInt64.self)),
        UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: position + 16, as: UInt32.self))
      )
    }
    let (start, length, place) = words
    let source: ExtentSource =
      switch place {
      case zeros: .zeros
      case hole: .hole
      default: ExtentSource(segment: segment, position: place)
      }
    let isInside =
      place > SegmentHeader.byteCount && length <= end && UInt64(place) + length <= end
    return (
      Extent(start: start, length: length, source: source), source.isZeros || isInside
    )
  }
}

extension SidecarIndex {
  /// What the sidecar of a segment's first `recordCount` records must be; nil when it has fewer, or
  /// none is asked for. Reads headers only, of records that were verified before. Blocks.
  public static func scanning<File: JournalFile>(
    _ file: File, header: SegmentHeader, end: Int, recordCount: UInt64, diskCount: Int
  ) throws(Errno) -> SidecarIndex? {
    var index = ActiveIndex(diskCount: diskCount)
    var scanner = SegmentScanner(file, header: header, limit: end, depth: .headersOnly)
    while scanner.recordCount < recordCount {
      guard let record = try scanner.next() else { return nil }
      guard record.header.kind == .checkpoint || record.header.disk.index < diskCount else {
        return nil
      }
      index.add(record, segment: header.number)
    }
    guard let span = index.span else { return nil }
    return SidecarIndex(
      identity: header.identity, end: scanner.position,
      generation: Generation(freezing: index, span: span).flattened())
  }
}
