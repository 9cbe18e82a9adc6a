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
/// A generation is what apply takes, what a view consults, and what lives in memory for each part
/// of the journal that is not applied yet.
public final class Generation: Sendable {
  public let span: RecordSpan
  public let checkpoints: [Checkpoint]
  private let maps: Maps

  private enum Maps: Sendable {
    /// As the loop left them; flattening has not been done yet.
    case frozen([DiskMap])
    case sealed([SealedExtentMap])
  }

  init(freezing index: consuming ActiveIndex, span: RecordSpan) {
    self.span = span
    checkpoints = index.checkpoints
    maps = .frozen(index.disks)
  }

  public init(span: RecordSpan, checkpoints: [Checkpoint], maps: [SealedExtentMap]) {
    self.span = span
    self.checkpoints = checkpoints
    self.maps = .sealed(maps)
  }

  /// Where the bytes at `offset` are, and for how many bytes (at most `limit`) that holds. A nil
  /// source: this generation did not touch them.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    switch maps {
    case .frozen(let disks): disks[disk.index].map.piece(at: offset, limit: limit)
    case .sealed(let disks): disks[disk.index].piece(at: offset, limit: limit)
    }
  }

  /// The disks' maps in flat form; computed if need be, which takes time in proportion to the
  /// number of extents and belongs on a worker.
  public func sealedMaps() -> [SealedExtentMap] {
    switch maps {
    case .frozen(let disks): disks.map { $0.map.sealed() }
    case .sealed(let disks): disks
    }
  }

  var isFlat: Bool {
    if case .sealed = maps { true } else { false }
  }

  /// Extents of all disks together; 0 before it is flat.
  var flatExtentCount: Int {
    if case .sealed(let disks) = maps { disks.reduce(0) { $0 + $1.count } } else { 0 }
  }

  /// The same generation in flat form. For a worker.
  func flattened() -> Generation {
    isFlat ? self : Generation(span: span, checkpoints: checkpoints, maps: sealedMaps())
  }

  /// One index in place of several that follow each other: newer extents win. Checkpoints stay
  /// with the parts. For a worker.
  public static func merging(_ oldestFirst: [Generation]) -> Generation {
    let maps = oldestFirst.map { $0.sealedMaps() }
    let merged = maps[0].indices.map { disk in
      SealedExtentMap.merging(maps.map { $0[disk] })
    }
    var span = oldestFirst[0].span
    span.lastSequence = oldestFirst[oldestFirst.count - 1].span.lastSequence
    span.lastTimestamp = oldestFirst[oldestFirst.count - 1].span.lastTimestamp
    return Generation(span: span, checkpoints: [], maps: merged)
  }
}
