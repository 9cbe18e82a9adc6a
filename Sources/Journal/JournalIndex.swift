import BlockModel

/// What others ask of the index. On the group's loop.
extension Journal {
  /// The oldest segment that `closedIndex` may name.
  public var oldestNamedSegment: Segment<Storage.File>? {
    let place = segments.firstIndexInOrder { $0.number >= index.floor }
    return place < segments.count ? segments[place] : nil
  }

  /// The index of closed generations, and the oldest segment that it may name: for `piece`.
  public var closedIndex: (cover: IndexCover, floor: UInt32) { (index.closed, index.floor) }

  /// Whether records after `sequence`, where a generation was closed, changed the byte at `offset`,
  /// and for how many bytes (at most `limit`) that holds. Knows what is not applied. Does not
  /// block: nil where `maps(after:)` must be asked by somebody who may wait.
  public func change(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, after sequence: SequenceNumber
  ) -> (length: UInt64, isChanged: Bool?) {
    index.change(disk: disk, at: offset, limit: limit, after: sequence)
  }

  /// The fewest maps that stand for the closed generations with a record after `sequence`.
  public func maps(after sequence: SequenceNumber) -> [Generation] { index.maps(after: sequence) }

  /// What the index takes of memory and in files.
  public var indexUse: IndexUse { shelf.use }

  /// Closed generations not applied yet, oldest first.
  public var generations: [Generation] { index.generations }
  /// Of the active generation; nil when it is empty.
  public var activeSpan: RecordSpan? { index.active.span }
  public var activeCheckpoints: [Checkpoint] { index.active.checkpoints }
  /// Of all generations.
  public var checkpointCount: Int { index.checkpointCount }

  /// The fewest maps that stand for all closed generations that end by `instant`, oldest first:
  /// single generations and merged ones. What they name in segments that are not kept any more is
  /// in the base (`ExtentSource.unlessBelow`).
  public func maps(notLaterThan instant: Timestamp) -> [Generation] {
    index.cover(notLaterThan: instant)
  }

  /// The closed generation with records up to the instant and later ones; nil when there is none.
  public func generation(cutBy instant: Timestamp) -> Generation? {
    index.generation(cutBy: instant)
  }

  /// How many maps `piece` consults at most.
  public var mapCount: Int { index.mapCount }

  /// Work that puts a closed generation somewhere: what is not done of it takes memory. Nil when
  /// there is none. Nothing depends on it. Run by any thread, and its result given to `install`;
  /// one of each kind at once.
  public func placingJob() -> IndexJob? { index.nextPlacing() }

  /// The same, which makes look-ups shorter: may take long.
  public func mergeJob() -> IndexJob? { index.nextMerge() }

  /// Takes the result of a job, unless it came too late.
  public func install(_ result: IndexJob.Result, of job: IndexJob) {
    index.install(result.generation, of: job)
  }

  /// Nothing came of it.
  public func indexJobFailed(_ job: IndexJob) { index.failed(job) }

  /// Closes the active generation. Records up to the one that is returned and those behind it stay
  /// in different generations until `removeBorder`.
  public func addBorder() throws(JournalError) -> SequenceNumber {
    try freezeActive()
    index.addBorder(stamped)
    return stamped
  }

  public func removeBorder(_ border: SequenceNumber) { index.removeBorder(border) }
}
