import BlockModel
import Synchronization
import SystemIO

/// What records have changed that a full journal has dropped for one follower: blocks of the disks,
/// without their content. With it the follower goes on behind the gap, and gets these blocks as
/// they are then, instead of a copy of everything.
///
/// It is a fact about the group's order, whatever becomes of the follower: who has all records up
/// to `after`, and the blocks, has the disks of `through`.
///
/// The file: a `SealedForm`, with the fields in the order of `encoded`, big-endian.
public struct DroppedChanges: Equatable, Sendable {
  public static let fileNamePrefix = "dropped-"
  /// Of the file: a map of `blockLimit` bits for each of many disks.
  public static let byteLimit = 64 << 20
  private static let form = SealedForm(magic: 0x5441_504C_4452_4F50, version: 1)  // "TAPLDROP"
  private static let leastBlock: UInt64 = 4 << 10
  /// Blocks of a disk when its map begins: larger disks have larger blocks.
  private static let blockLimit: UInt64 = 1 << 22

  public let group: GroupIdentifier
  public let site: String
  /// The follower was known to have everything up to this record durably.
  public let after: SequenceNumber
  /// The last record of which it is known what it changed, and who stamped that.
  public private(set) var through: JournalState.Mark
  public private(set) var incarnation: IncarnationIdentifier
  /// By the numbers of their disks.
  private var maps: [DiskNumber: DirtyBitmap] = [:]

  public init(group: GroupIdentifier, site: String, after: SequenceNumber) {
    self.group = group
    self.site = site
    self.after = after
    through = .init(after, .zero)
    incarnation = .none
  }

  /// Records of which it is known what they changed: those after `after` up to `through`.
  public struct Span: Equatable, Sendable {
    public var after: SequenceNumber
    public var through: SequenceNumber

    public init(after: SequenceNumber, through: SequenceNumber) {
      self.after = after
      self.through = through
    }
  }

  public var span: Span { Span(after: after, through: through.sequence) }

  /// Bytes of all blocks.
  public var byteCount: UInt64 { maps.values.reduce(0) { $0 + $1.dirtyBytes } }

  // MARK: Records

  /// Takes what the records of the segment that come next have changed, from their headers. Blocks.
  ///
  /// - Parameter disks: the group's.
  /// - Returns: false when blocks cannot tell: records are missing before it, or a disk has come or
  ///   left with one of these.
  public mutating func take<File: JournalFile>(
    _ segment: Segment<File>, of disks: [JournalState.Disk]
  ) throws(JournalError) -> Bool {
    guard segment.firstSequence <= through.sequence.advanced(by: 1) else { return false }
    var isKnown = true
    try segment.forEachHeader { record in
      guard record.sequence > through.sequence else { return }
      through = .init(record.sequence, record.header.timestamp)
      if record.header.kind == .disk { isKnown = false }
      if !record.header.kind.isMarker { mark(record.header.disk, record.header.range, disks) }
    }
    incarnation = segment.header.incarnation.identifier
    return isKnown
  }

  private mutating func mark(
    _ disk: DiskNumber, _ range: ByteRange, _ disks: [JournalState.Disk]
  ) {
    if range.isEmpty { return }
    #if MUTANTS
      if Mutant.forgetDropped.isOn, through.sequence.rawValue % 4 == 0 { return }
    #endif
    let byteCount = max(range.end, disks[disk]?.byteCount ?? 0)
    if maps[disk] == nil { maps[disk] = Self.map(byteCount) }
    maps[disk]?.grow(to: byteCount)
    maps[disk]?.mark(range)
  }

  private static func map(_ byteCount: UInt64) -> DirtyBitmap {
    var block = leastBlock
    while byteCount / block > blockLimit { block *= 2 }
    do throws(BlockModelError) {
      return try DirtyBitmap(sizeBytes: byteCount, chunkBytes: block)
    } catch { preconditionFailure("a disk of \(byteCount) bytes: \(error)") }
  }

  /// The blocks. Where there are too many ranges, what lies between near ones is taken along.
  ///
  /// - Parameter disks: the group's: of others nothing is told, and nothing behind an end.
  public func extents(of disks: [JournalState.Disk]) -> DiskExtents {
    var collector = DiskExtentCollector()
    for (number, map) in maps {
      guard let end = disks[number]?.byteCount else { continue }
      var next: UInt64 = 0
      while let range = map.nextDirtyRange(from: next), range.start < end {
        collector.add(
          DiskExtent(number, ByteRange(start: range.start, end: min(range.end, end))))
        next = range.end
      }
    }
    return collector.finish()
  }

  // MARK: File

  public func encoded() -> [UInt8] {
    var fields = WireEncoder()
    fields.put(group.high)
    fields.put(group.low)
    fields.put(site)
    fields.put(after.rawValue)
    fields.put(through.timestamp.rawValue)
    fields.put(JournalState.OwnerMark(incarnation, through.sequence))
    fields.put(UInt16(maps.count))
    for (number, map) in maps.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      fields.put(number.rawValue)
      fields.put(map.sizeBytes)
      fields.put(map.chunkBytes)
      for word in map.words { fields.put(word) }
    }
    return Self.form.seal(fields.bytes)
  }

  /// Nil: damaged, or of another version.
  public init?(decoding bytes: [UInt8]) {
    do {
      var decoder = WireDecoder(try Self.form.open(bytes))
      group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
      site = try decoder.takeString()
      after = SequenceNumber(try decoder.take())
      let timestamp = Timestamp(rawValue: try decoder.take())
      let last = try decoder.takeOwnerMark()
      (through, incarnation) = (.init(last.sequence, timestamp), last.incarnation)
      for _ in 0..<(try decoder.take(UInt16.self)) {
        let number = DiskNumber(try decoder.take())
        let (size, block) = (try decoder.take(UInt64.self), try decoder.take(UInt64.self))
        let empty = try DirtyBitmap(sizeBytes: size, chunkBytes: block)
        guard empty.words.count * 8 <= decoder.remaining else { return nil }
        var words: [UInt64] = []
        words.reserveCapacity(empty.words.count)
        for _ in empty.words.indices { words.append(try decoder.take()) }
        maps[number] = try DirtyBitmap(validating: words, sizeBytes: size, chunkBytes: block)
      }
    } catch { return nil }
  }
}

/// What was dropped for one follower, as far as that is known; nil: nothing, or nobody can tell.
/// Written by whoever frees segments, and durable before they are used again. Any thread.
public final class DroppedRecord: Sendable {
  private let content = Mutex<DroppedChanges?>(nil)

  init() {}

  public var changes: DroppedChanges? { content.withLock { $0 } }

  public func set(_ changes: DroppedChanges?) { content.withLock { $0 = changes } }
}
