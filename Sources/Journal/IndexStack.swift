import BlockModel
import SystemIO

/// The index of everything in the journal that is not applied: closed generations with their merged
/// forms, and the active one. Owned by the group's loop.
struct IndexStack {
  var active: ActiveIndex
  /// Numbers of disks are below it.
  private var diskCount: Int
  private var levels: IndexLevels
  /// The cover of all closed generations: what a look-up consults.
  private(set) var closed = IndexCover([])
  /// The oldest segment that is kept: see the floor rule at `IndexLevels`.
  var floor: UInt32 = 0

  /// - Parameter life: see `IndexLevels`.
  init(diskCount: Int, generations: [Generation], life: UInt64, shelf: IndexShelf) {
    self.diskCount = diskCount
    levels = IndexLevels(generations, life: life, shelf: shelf)
    active = ActiveIndex(diskCount: diskCount)
    updateCover()
  }

  /// Closed generations, oldest first.
  var generations: [Generation] { levels.generations }
  var life: UInt64 { levels.life }
  var checkpointCount: Int { levels.checkpointCount + active.checkpoints.count }
  /// How many maps a look-up consults at most.
  var mapCount: Int { closed.newestFirst.count + 1 }

  /// What the cover was made of.
  private var coveredRevision = -1

  private mutating func updateCover() {
    if levels.revision == coveredRevision { return }
    coveredRevision = levels.revision
    closed = IndexCover(levels.cover(levels.generations.count))
  }

  /// Closes the active generation, if it has a record.
  ///
  /// - Parameter segment: the one that has its records.
  mutating func freeze(segment: UInt32, origin: IndexOrigin?) {
    guard let span = active.span else { return }
    levels.append(Generation(freezing: active, span: span, segment: segment, origin: origin))
    active = ActiveIndex(diskCount: diskCount)
    updateCover()
  }

  /// After a `freeze`: numbers up to `count` may come.
  mutating func grow(toDisks count: Int) {
    precondition(active.span == nil, "records are indexed for fewer disks")
    if count <= diskCount { return }
    diskCount = count
    active = ActiveIndex(diskCount: count)
  }

  mutating func complete(before segment: UInt32) { levels.complete(before: segment) }

  /// Forgets what is applied.
  mutating func drop(through sequence: SequenceNumber) {
    levels.drop(through: sequence)
    updateCover()
  }

  mutating func nextPlacing() -> IndexJob? {
    let evicted = levels.evictedCount
    let job = levels.nextPlacing()
    // Room may have been made for it.
    if levels.evictedCount != evicted { updateCover() }
    return job
  }

  mutating func nextMerge() -> IndexJob? {
    let evicted = levels.evictedCount
    let job = levels.nextMerge()
    if job == nil || levels.evictedCount != evicted { updateCover() }
    return job
  }

  mutating func failed(_ job: IndexJob) {
    levels.failed(job)
    updateCover()
  }

  mutating func install(_ result: Generation, of job: IndexJob) {
    levels.install(result, of: job)
    // An older cover is as right. Of many maps, as after a start, it takes long to make.
    if levels.revision - coveredRevision >= closed.newestFirst.count / 16 { updateCover() }
  }

  mutating func noteSidecar(_ index: FiledIndex, of segment: UInt32, _ span: RecordSpan) {
    levels.noteSidecar(index, of: segment, span)
    updateCover()
  }

  /// See `IndexLevels`.
  mutating func addBorder(_ sequence: SequenceNumber) { levels.addBorder(sequence) }

  mutating func removeBorder(_ sequence: SequenceNumber) {
    levels.removeBorder(sequence)
    updateCover()
  }

  /// The fewest maps that stand for the records of a span, where generations begin and end.
  func cover(of span: RecordSpan) -> [Generation] { levels.cover(of: span) }

  /// The fewest maps that stand for all closed generations that end by `instant`, oldest first.
  func cover(notLaterThan instant: Timestamp) -> [Generation] {
    levels.cover(levels.generations.firstIndexInOrder { $0.span.lastTimestamp > instant })
  }

  /// The closed generation with records up to the instant and later ones.
  func generation(cutBy instant: Timestamp) -> Generation? {
    let index = levels.generations.firstIndexInOrder { $0.span.lastTimestamp > instant }
    guard index < levels.generations.count else { return nil }
    let generation = levels.generations[index]
    return generation.span.firstTimestamp <= instant ? generation : nil
  }

  /// Where the newest bytes of the disk at `offset` are, and for how many bytes (at most `limit`)
  /// that holds. A nil source: in the base; `unresolved`: `closed` knows, and has to read for it.
  @inline(__always)
  func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    let found = active.disks[disk.index].map.piece(at: offset, limit: limit)
    if found.source != nil || closed.newestFirst.isEmpty { return found }
    return closed.piece(disk: disk, at: offset, limit: found.length, floor: floor)
  }

  /// Whether records after `sequence` changed the byte at `offset`, and for how many bytes (at most
  /// `limit`) that holds. A generation counts as a whole when its last record is after `sequence`.
  /// Nil where an index file would have to be read: see `maps(after:)`.
  func change(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, after sequence: SequenceNumber
  ) -> (length: UInt64, isChanged: Bool?) {
    var found = active.disks[disk.index].map.piece(at: offset, limit: limit)
    for generation in generations.reversed() {
      if found.source != nil || generation.span.lastSequence <= sequence { break }
      found = generation.piece(disk: disk, at: offset, limit: found.length)
      #if MUTANTS
        if Mutant.forgetLaterChanges.isOn, found.source == .unresolved {
          return (found.length, false)
        }
      #endif
      if found.source == .unresolved { return (found.length, nil) }
    }
    return (found.length, found.source != nil)
  }

  /// Closed ones with a record after `sequence`.
  func generations(after sequence: SequenceNumber) -> ArraySlice<Generation> {
    generations[generations.firstIndexInOrder { $0.span.lastSequence > sequence }...]
  }

  /// The fewest maps that stand for these.
  func maps(after sequence: SequenceNumber) -> [Generation] {
    let closed = generations(after: sequence)
    return closed.isEmpty ? [] : levels.cover(of: RecordSpan(joining: Array(closed)))
  }
}
