import BlockModel
import SystemIO

/// The index of a sealed segment in a file beside it: `segment-00012.index`. With it, opening a
/// journal needs neither to read nor to verify the segment, and the segment's extents need not be
/// in memory.
///
/// It can always be made again from the segment, so nothing depends on it: a file that does not
/// verify, or is not of the segment that its slot holds now, counts as missing. It is written once
/// the segment is durable and sealed, and need not be durable itself. All integers big-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0–7 | `TAPLIDX1` |
/// | 8–11 | format version, 3 |
/// | 12–15 | byte count of the contents |
/// | 16–31 | group identifier |
/// | 32–47 | identity of the incarnation |
/// | 48–55 | segment number |
/// | 56–63 | sequence number of the first record |
/// | 64–71 | number of records, at least 1 |
/// | 72–79 | position of the end of the last record |
/// | 80–87 | timestamp of the first record |
/// | 88–95 | timestamp of the last record |
/// | 96–99 | CRC-32C (standard form) of the contents |
/// | 100–123 | zero |
/// | 124–127 | CRC-32C (standard form) of bytes 0–123 |
/// | 128– | contents |
/// | from the next multiple of a page's byte count on | pages |
///
/// Contents of no bytes: a *seal*, which knows where the segment ends and does not index it; enough
/// when all its records are applied.
///
/// The contents: a 32-bit count of checkpoints, each a sequence number (64), a timestamp (64) and a
/// tag (16-bit byte count, UTF-8); a 32-bit byte count of a page; a 16-bit count of disks, each the
/// number of extents (64), the numbers of the first page and of the root (32 each), and the height
/// of the root (8). `IndexPage` is a page.
public struct SidecarIndex: Sendable {
  public static let headerByteCount = 128
  public static let magic: UInt64 = 0x5441_504C_4944_5831  // "TAPLIDX1"
  public static let version: UInt32 = 3

  public let identity: SegmentIdentity
  /// Position of the end of the last record.
  public let end: Int
  /// Of all records of the segment; its maps are flat.
  public let generation: Generation
  private let pageByteCount: Int

  public var firstSequence: SequenceNumber { generation.span.firstSequence }
  public var recordCount: UInt64 {
    generation.span.lastSequence.advanced(by: 1).distance(from: firstSequence)
  }

  /// - Parameter generation: the index of all of the segment's records up to `end`, flat.
  init(of header: SegmentHeader, end: Int, generation: Generation) {
    identity = header.identity
    self.end = end
    self.generation = generation
    pageByteCount = IndexPage.byteCount(segmentByteCount: Int(header.segmentByteCount))
  }

  /// The name of the sidecar of a segment file.
  public static func name(ofSegmentFile name: String) -> String { name + ".index" }

  // MARK: Writing

  public func encoded() throws(JournalError) -> [UInt8] {
    let seal = SegmentSeal(identity: identity, end: end, span: generation.span)
    return try Self.encode(
      seal, generation.checkpoints, try generation.sealedMaps(), pageByteCount: pageByteCount
    ).bytes
  }

  /// A sidecar without an index.
  static func encode(_ seal: SegmentSeal) -> [UInt8] { encode(seal, contents: []) }

  /// A sidecar, and where its pages are.
  static func encode(
    _ seal: SegmentSeal, _ checkpoints: [Checkpoint], _ maps: [SealedExtentMap],
    pageByteCount: Int
  ) throws(JournalError) -> (bytes: [UInt8], layout: IndexLayout) {
    let head = SidecarHead(
      seal, checkpoints, diskCount: maps.count, pageByteCount: pageByteCount)
    var writer = IndexTreeWriter(
      pageByteCount: pageByteCount, offset: head.pagesOffset, seed: head.seed)
    for map in maps {
      for index in 0..<map.count { writer.append(map[index]) }
      writer.endDisk()
    }
    return (head.encoded(writer.layout.trees) + writer.takeDone(), writer.layout)
  }

  fileprivate static func pagesOffset(_ contentsByteCount: Int, _ pageByteCount: Int) -> Int {
    (headerByteCount + contentsByteCount + pageByteCount - 1) / pageByteCount * pageByteCount
  }

  /// Of no other segment, nor of the same one when it had another number of records.
  fileprivate static func seed(of seal: SegmentSeal) -> UInt32 {
    #if MUTANTS
      if Mutant.trustRecycledPage.isOn { return 0 }
    #endif
    var count = seal.recordCount.bigEndian
    return unsafe withUnsafeBytes(of: &count) {
      unsafe CRC32C.extend(seal.identity.checksumSeed, $0)
    }
  }

  fileprivate static func encode(_ seal: SegmentSeal, contents: [UInt8]) -> [UInt8] {
    let (identity, span) = (seal.identity, seal.span)
    var encoder = WireEncoder()
    encoder.put(Self.magic)
    encoder.put(Self.version)
    encoder.put(UInt32(contents.count))
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
    encoder.put(Self.sum(contents[...]))
    encoder.pad(to: Self.headerByteCount - 4)
    encoder.put(Self.sum(encoder.bytes[...]))
    return encoder.bytes + contents
  }

  fileprivate static func contents(
    _ checkpoints: [Checkpoint], pageByteCount: Int, _ trees: [IndexTree]
  ) -> [UInt8] {
    var contents = WireEncoder()
    contents.put(UInt32(checkpoints.count))
    for checkpoint in checkpoints {
      contents.put(checkpoint.sequence.rawValue)
      contents.put(checkpoint.timestamp.rawValue)
      contents.put(checkpoint.tag)
    }
    contents.put(UInt32(pageByteCount))
    contents.put(UInt16(trees.count))
    for tree in trees {
      contents.put(tree.extentCount)
      contents.put(tree.firstPage)
      contents.put(tree.root)
      contents.put(tree.height)
    }
    return contents.bytes
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

  /// What the file tells about the segment with this header, all of it read and verified. Blocks.
  /// Throws when it cannot be read.
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
    if word(head, at: 12) == 0 { return .sealed(seal) }
    guard let opening = try openContents(file, seal, head, header, diskCount: disks.count),
      let maps = try? maps(opening, file, disks: disks)
    else { return .damaged }
    let sidecar = SidecarIndex(
      of: header, end: seal.end,
      generation: Generation(
        span: seal.span, checkpoints: opening.checkpoints, maps: maps, segment: header.number))
    // What finds the extents is not asked for them above, and must be right, too.
    guard let wanted = try? sidecar.encoded(),
      try bytes(of: file, at: 0, count: wanted.count) == wanted
    else { return .damaged }
    return .whole(sidecar)
  }

  private struct OneFile<File: JournalFile>: IndexFileSource {
    let file: File

    func open() throws(Errno) -> any JournalFile { file }
  }

  private static func maps<File: JournalFile>(
    _ opening: Opening, _ file: File, disks: [UInt64]
  ) throws -> [SealedExtentMap] {
    let index = FiledIndex(
      opening.layout, in: OneFile(file: file), else: .parts([]),
      bounds: opening.seal.bounds(disks), cache: IndexPageCache(byteLimit: 0))
    let maps = try opening.seal.generation(filed: index).sealedMaps()
    for (map, tree) in zip(maps, opening.layout.trees) where map.count != tree.extentCount {
      throw Refused()
    }
    return maps
  }

  /// What a start takes from a sidecar: all but the pages.
  struct Opening: Sendable {
    let seal: SegmentSeal
    let checkpoints: [Checkpoint]
    let layout: IndexLayout
  }

  /// Nil when the file has no index of the segment with this header, or does not verify. Its pages
  /// are not read: each proves itself when it is. Blocks.
  static func open<File: JournalFile>(
    _ file: File, of header: SegmentHeader, diskCount: Int
  ) throws(Errno) -> Opening? {
    guard case .whole(let (seal, head)) = try readHead(file, of: header),
      word(head, at: 12) > 0
    else { return nil }
    return try openContents(file, seal, head, header, diskCount: diskCount)
  }

  private static func openContents<File: JournalFile>(
    _ file: File, _ seal: SegmentSeal, _ head: [UInt8], _ header: SegmentHeader, diskCount: Int
  ) throws(Errno) -> Opening? {
    let byteCount = word(head, at: 12)
    guard byteCount <= header.segmentByteCount,
      let contents = try bytes(of: file, at: UInt64(headerByteCount), count: Int(byteCount)),
      word(head, at: contentsSumPosition) == sum(contents[...])
    else { return nil }
    return try? opening(contents, of: seal, diskCount: diskCount)
  }

  private static func opening(
    _ contents: [UInt8], of seal: SegmentSeal, diskCount: Int
  ) throws -> Opening {
    var decoder = WireDecoder(contents)
    var checkpoints: [Checkpoint] = []
    for _ in 0..<(try decoder.take(UInt32.self)) {
      checkpoints.append(
        Checkpoint(
          sequence: SequenceNumber(try decoder.take()),
          timestamp: Timestamp(rawValue: try decoder.take()), tag: try decoder.takeString()))
    }
    let pageByteCount = Int(try decoder.take(UInt32.self))
    guard pageByteCount == 4096 || pageByteCount == 256,
      case let treeCount = Int(try decoder.take(UInt16.self)), treeCount <= diskCount
    else { throw Refused() }
    var layout = IndexLayout(
      pageByteCount: pageByteCount, offset: UInt64(pagesOffset(contents.count, pageByteCount)),
      seed: seed(of: seal))
    for _ in 0..<treeCount {
      layout.trees.append(
        IndexTree(
          extentCount: try decoder.take(), firstPage: try decoder.take(),
          root: try decoder.take(), height: try decoder.take()))
    }
    guard decoder.remaining == 0,
      layout.trees.allSatisfy({
        $0.extentCount <= UInt64(seal.end) && $0.firstPage <= $0.root
          && Int($0.root) <= seal.end && $0.height < 16
      })
    else { throw Refused() }
    return Opening(seal: seal, checkpoints: checkpoints, layout: layout)
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
    guard head.starts(with: prefix(of: header.identity, contentsByteCount: word(head, at: 12)))
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
  /// contents.
  private static let fieldsPosition = 56
  private static let contentsSumPosition = fieldsPosition + SegmentSeal.byteCount

  /// The first 56 bytes.
  private static func prefix(of identity: SegmentIdentity, contentsByteCount: UInt32) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(magic)
    encoder.put(version)
    encoder.put(contentsByteCount)
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
}

/// What comes before the pages of a sidecar. The trees of the disks have a fixed size, so it is
/// known before where the pages begin.
struct SidecarHead {
  let pageByteCount: Int
  private let seal: SegmentSeal
  private let checkpoints: [Checkpoint]
  /// Of the first page, in bytes from the start of the file.
  let pagesOffset: UInt64

  init(
    _ seal: SegmentSeal, _ checkpoints: [Checkpoint], diskCount: Int, pageByteCount: Int
  ) {
    self.seal = seal
    self.checkpoints = checkpoints
    self.pageByteCount = pageByteCount
    let empty = [IndexTree](repeating: IndexTree(), count: diskCount)
    let contents = SidecarIndex.contents(checkpoints, pageByteCount: pageByteCount, empty)
    pagesOffset = UInt64(SidecarIndex.pagesOffset(contents.count, pageByteCount))
  }

  var seed: UInt32 { SidecarIndex.seed(of: seal) }

  func encoded(_ trees: [IndexTree]) -> [UInt8] {
    let contents = SidecarIndex.contents(checkpoints, pageByteCount: pageByteCount, trees)
    let bytes = SidecarIndex.encode(seal, contents: contents)
    return bytes + [UInt8](repeating: 0, count: Int(pagesOffset) - bytes.count)
  }
}

extension SegmentSeal {
  /// - Parameter disks: sizes in bytes.
  func bounds(_ disks: [UInt64]) -> FiledIndex.Bounds {
    FiledIndex.Bounds(segment: identity.number, end: UInt64(end), disks: disks)
  }

  /// The generation of all of the segment's records, whose maps are in a file.
  fileprivate func generation(filed index: FiledIndex) -> Generation {
    Generation(span: span, checkpoints: [], segment: identity.number, filed: index)
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
      guard record.header.kind.isMarker || record.header.disk.index < diskCount else {
        return nil
      }
      index.add(record, segment: header.number)
    }
    guard let span = index.span else { return nil }
    return SidecarIndex(
      of: header, end: scanner.position,
      generation: Generation(freezing: index, span: span, segment: header.number).flattened())
  }
}
