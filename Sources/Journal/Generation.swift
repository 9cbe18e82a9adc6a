import BlockModel

/// A named or periodic instant in a group's history.
public struct Checkpoint: Equatable, Sendable {
  public let sequence: SequenceNumber
  public let timestamp: Timestamp
  /// Empty for a periodic one.
  public let tag: String

  public init(sequence: SequenceNumber, timestamp: Timestamp, tag: String) {
    self.sequence = sequence
    self.timestamp = timestamp
    self.tag = tag
  }
}

/// A closed run of the group's order.
public struct RecordSpan: Equatable, Sendable {
  public var firstSequence: SequenceNumber
  public var lastSequence: SequenceNumber
  public var firstTimestamp: Timestamp
  public var lastTimestamp: Timestamp

  public init(
    firstSequence: SequenceNumber, lastSequence: SequenceNumber, firstTimestamp: Timestamp,
    lastTimestamp: Timestamp
  ) {
    self.firstSequence = firstSequence
    self.lastSequence = lastSequence
    self.firstTimestamp = firstTimestamp
    self.lastTimestamp = lastTimestamp
  }
}

/// One disk's extent map. Its owner is the loop until the generation is frozen; from then on nobody
/// changes it and any thread may read it.
final class DiskMap: @unchecked Sendable {
  var map = ExtentMap()
}

/// The index of the records that are being appended now. Owned by the group's loop.
struct ActiveIndex {
  private(set) var span: RecordSpan?
  private(set) var checkpoints: [Checkpoint] = []
  let disks: [DiskMap]

  init(diskCount: Int) {
    disks = (0..<diskCount).map { _ in DiskMap() }
  }

  /// Adds a data record whose payload begins at `source`.
  @inline(__always)
  mutating func add(_ header: RecordHeader, _ sequence: SequenceNumber, _ source: ExtentSource) {
    extend(sequence, header.timestamp)
    disks[header.disk.index].map.insert(header.range, source)
  }

  mutating func add(_ checkpoint: Checkpoint) {
    extend(checkpoint.sequence, checkpoint.timestamp)
    checkpoints.append(checkpoint)
  }

  mutating func addMarker(_ sequence: SequenceNumber, _ timestamp: Timestamp) {
    extend(sequence, timestamp)
  }

  /// Every one of the span is here.
  @inline(__always)
  var recordCount: Int {
    span.map { Int($0.lastSequence.distance(from: $0.firstSequence)) + 1 } ?? 0
  }

  @inline(__always)
  private mutating func extend(_ sequence: SequenceNumber, _ timestamp: Timestamp) {
    if span != nil {
      span!.lastSequence = sequence
      span!.lastTimestamp = timestamp
    } else {
      span = RecordSpan(
        firstSequence: sequence, lastSequence: sequence,
        firstTimestamp: timestamp, lastTimestamp: timestamp)
    }
  }
}

/// The index of a closed run of records: what each disk's bytes became in it. Immutable.
///
/// A generation is what apply takes, what a view consults, and what stands for each part of the
/// journal that is not applied yet: in memory, or in a file of which the pages that were asked for
/// lately are in memory.
public final class Generation: Sendable {
  public let span: RecordSpan
  public let checkpoints: [Checkpoint]
  /// The newest segment that it has records of.
  let segment: UInt32
  private let maps: Maps
  /// Where its maps can be had from again; nil: of more than one segment.
  let origin: IndexOrigin?
  /// Of the memory for indexes; ends with the maps.
  private let share: IndexMemory.Share?

  private enum Maps: Sendable {
    /// As the loop left them; flattening has not been done yet.
    case frozen([DiskMap])
    case sealed([SealedExtentMap])
    case filed(FiledIndex)
  }

  init(
    freezing index: consuming ActiveIndex, span: RecordSpan, segment: UInt32,
    origin: IndexOrigin? = nil
  ) {
    self.span = span
    self.segment = segment
    self.origin = origin
    checkpoints = index.checkpoints
    maps = .frozen(index.disks)
    share = nil
  }

  private init(
    _ span: RecordSpan, _ checkpoints: [Checkpoint], _ segment: UInt32, _ maps: Maps,
    _ share: IndexMemory.Share?, _ origin: IndexOrigin? = nil
  ) {
    self.span = span
    self.origin = origin
    self.checkpoints = checkpoints
    self.segment = segment
    self.maps = maps
    self.share = share
  }

  /// - Parameter segment: the newest that it has records of.
  public convenience init(
    span: RecordSpan, checkpoints: [Checkpoint], maps: [SealedExtentMap], segment: UInt32 = .max
  ) {
    self.init(span, checkpoints, segment, .sealed(maps), nil)
  }

  convenience init(
    span: RecordSpan, checkpoints: [Checkpoint], segment: UInt32, filed: FiledIndex,
    origin: IndexOrigin? = nil
  ) {
    self.init(span, checkpoints, segment, .filed(filed), nil, origin)
  }

  /// Where the bytes at `offset` are, and for how many bytes (at most `limit`) that holds. A nil
  /// source: this generation did not touch them. Does not block: the source is `unresolved` where a
  /// file would have to be read.
  ///
  /// - Parameter floor: what lies in older segments need not be told from nil.
  @inline(__always)
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32 = 0
  ) -> (length: UInt64, source: ExtentSource?) {
    switch maps {
    case .frozen(let disks):
      disk.index < disks.count
        ? disks[disk.index].map.piece(at: offset, limit: limit) : (limit, nil)
    case .sealed(let disks):
      disk.index < disks.count ? disks[disk.index].piece(at: offset, limit: limit) : (limit, nil)
    case .filed(let index): index.piece(disk: disk, at: offset, limit: limit, floor: floor)
    }
  }

  /// As `piece`, but waits for the disk, and always knows.
  public func pieceWaiting(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32 = 0
  ) throws(JournalError) -> (length: UInt64, source: ExtentSource?) {
    if case .filed(let index) = maps {
      return try index.pieceWaiting(disk: disk, at: offset, limit: limit, floor: floor)
    }
    return piece(disk: disk, at: offset, limit: limit)
  }

  /// A disk's extents in order, newest cursors first, from the byte at `offset` on. Blocks.
  func cursors(disk: DiskNumber, from offset: UInt64) throws(JournalError) -> [ExtentCursor] {
    // The disk may have come later.
    if disk.index >= diskCount { return [] }
    return switch maps {
    case .frozen(let disks): [ExtentCursor(disks[disk.index].map.sealed(), from: offset)]
    case .sealed(let disks): [ExtentCursor(disks[disk.index], from: offset)]
    case .filed(let index): try index.cursors(disk: disk, from: offset)
    }
  }

  /// The disks' maps in flat form; computed or read if need be, which takes time and memory in
  /// proportion to the number of extents. Blocks.
  public func sealedMaps() throws(JournalError) -> [SealedExtentMap] {
    switch maps {
    case .frozen(let disks): return disks.map { $0.map.sealed() }
    case .sealed(let disks): return disks
    case .filed(let index):
      var disks: [SealedExtentMap] = []
      for disk in index.layout.trees.indices {
        var merge = try ExtentMerge([self], disk: DiskNumber(UInt16(disk)))
        disks.append(try merge.nextMap(limit: .max))
      }
      return disks
    }
  }

  /// Disks with a higher number came later.
  public var diskCount: Int {
    switch maps {
    case .frozen(let disks): disks.count
    case .sealed(let disks): disks.count
    case .filed(let index): index.layout.trees.count
    }
  }

  /// Not as the loop left it any more.
  var isFlat: Bool {
    if case .frozen = maps { false } else { true }
  }

  /// The loop, or a map of what it has flattened, holds all of it.
  var isInMemory: Bool {
    if case .filed = maps { false } else { true }
  }

  /// Extents of all disks together; 0 before it is flat.
  public var flatExtentCount: Int {
    switch maps {
    case .frozen: 0
    case .sealed(let disks): disks.reduce(0) { $0 + $1.count }
    case .filed(let index): index.layout.extentCount
    }
  }

  /// What its maps take in memory, or would in flat form.
  var mapByteCount: Int {
    switch maps {
    case .frozen(let disks): disks.reduce(0) { $0 + $1.map.extentCount } * Self.extentByteCount
    case .sealed: flatExtentCount * Self.extentByteCount
    case .filed: 0
    }
  }

  /// The same generation in flat form, if it is in memory. For a worker.
  ///
  /// - Parameter share: of the memory, in place of the one that it has.
  func flattened(_ share: IndexMemory.Share? = nil) -> Generation {
    let flat: [SealedExtentMap]
    switch maps {
    case .frozen(let disks): flat = disks.map { $0.map.sealed() }
    case .sealed(let disks): flat = disks
    case .filed: return self
    }
    return Generation(span, checkpoints, segment, .sealed(flat), share ?? self.share, origin)
  }

  /// What an extent takes in memory.
  static var extentByteCount: Int { 24 }

  /// The same generation, of which a file has the maps.
  func filed(_ index: FiledIndex) -> Generation {
    Generation(span, checkpoints, segment, .filed(index), nil, origin)
  }

  /// What a file of its maps is replaced by that cannot be read.
  var fallback: FiledIndex.Fallback? {
    guard let origin else { return nil }
    let span = span
    return .scan { () throws(JournalError) in try origin.scan(span) }
  }

  /// The same generation for those who need it seldom: in memory is nothing of it, and to look
  /// something up reads the segment.
  func scanned(cache: IndexPageCache) -> Generation {
    guard isInMemory, let fallback else { return self }
    return filed(FiledIndex(diskCount: diskCount, from: fallback, cache: cache))
  }

  /// One index in place of several that follow each other: newer extents win. Checkpoints stay
  /// with the parts. Blocks; takes memory for all extents.
  static func merging(
    _ oldestFirst: [Generation], _ share: IndexMemory.Share? = nil
  ) throws(JournalError) -> Generation {
    var maps: [[SealedExtentMap]] = []
    for generation in oldestFirst { maps.append(try generation.sealedMaps()) }
    let merged = (0..<oldestFirst.diskCount).map { disk in
      SealedExtentMap.merging(maps.compactMap { disk < $0.count ? $0[disk] : nil })
    }
    return Generation(
      RecordSpan(joining: oldestFirst), [], oldestFirst[oldestFirst.count - 1].segment,
      .sealed(merged), share)
  }
}

extension Sequence<Generation> {
  /// Of the one that knows the most.
  public var diskCount: Int { map(\.diskCount).max() ?? 0 }
}

extension RecordSpan {
  /// Of generations that follow each other.
  init(joining oldestFirst: [Generation]) {
    self = oldestFirst[0].span
    lastSequence = oldestFirst[oldestFirst.count - 1].span.lastSequence
    lastTimestamp = oldestFirst[oldestFirst.count - 1].span.lastTimestamp
  }
}
