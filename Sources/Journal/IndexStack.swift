import BlockModel

/// The index of everything in the journal that is not applied: closed generations with their merged
/// forms, and the active one. Owned by the group's loop.
struct IndexStack {
  var active: ActiveIndex
  private let diskCount: Int
  private var levels: IndexLevels
  /// The cover of all closed generations: what a look-up consults.
  private var newestFirst: [Generation] = []
  /// The oldest segment that is kept: see the floor rule at `IndexLevels`.
  var floor: UInt32 = 0

  /// - Parameter firstNumber: of the generations; see `IndexLevels`.
  init(diskCount: Int, generations: [Generation], firstNumber: UInt64) {
    self.diskCount = diskCount
    levels = IndexLevels(generations, first: firstNumber)
    active = ActiveIndex(diskCount: diskCount)
    updateCover()
  }

  /// Closed generations, oldest first.
  var generations: [Generation] { levels.generations }
  var nextNumber: UInt64 { levels.next }
  var checkpointCount: Int { levels.checkpointCount + active.checkpoints.count }
  /// How many maps a look-up consults at most.
  var mapCount: Int { newestFirst.count + 1 }

  private mutating func updateCover() {
    newestFirst = levels.cover(levels.generations.count).reversed()
  }

  /// Closes the active generation, if it has a record.
  mutating func freeze() {
    guard let span = active.span else { return }
    levels.append(Generation(freezing: active, span: span))
    active = ActiveIndex(diskCount: diskCount)
    updateCover()
  }

  /// Forgets what is applied.
  mutating func drop(through sequence: SequenceNumber) {
    levels.drop(through: sequence)
    updateCover()
  }

  mutating func nextJob() -> IndexJob? { levels.nextJob() }

  mutating func install(_ result: Generation, of job: IndexJob) {
    levels.install(result, of: job)
    updateCover()
  }

  /// The fewest maps that stand for all closed generations that end by `instant`, oldest first.
  func cover(notLaterThan instant: Timestamp) -> [Generation] {
    levels.cover(levels.generations.firstIndexInOrder { $0.span.lastTimestamp > instant })
  }

  /// Where the newest bytes of the disk at `offset` are, and for how many bytes (at most `limit`)
  /// that holds. A nil source: in the base.
  @inline(__always)
  func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    let found = active.disks[disk.index].map.piece(at: offset, limit: limit)
    if found.source != nil || newestFirst.isEmpty { return found }
    return closedPiece(disk: disk, at: offset, limit: found.length)
  }

  private func closedPiece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    var length = limit
    for map in newestFirst {
      let found = map.piece(disk: disk, at: offset, limit: length)
      length = found.length
      if let source = found.source { return (length, source.unlessBelow(segment: floor)) }
    }
    return (length, nil)
  }

  /// Whether records after `sequence` changed the byte at `offset`, and for how many bytes (at most
  /// `limit`) that holds. A generation counts as a whole when its last record is after `sequence`.
  func change(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, after sequence: SequenceNumber
  ) -> (length: UInt64, isChanged: Bool) {
    var found = active.disks[disk.index].map.piece(at: offset, limit: limit)
    for generation in generations.reversed() {
      if found.source != nil || generation.span.lastSequence <= sequence { break }
      found = generation.piece(disk: disk, at: offset, limit: found.length)
    }
    return (found.length, found.source != nil)
  }
}
