import BlockModel

/// The index of everything in the journal that is not applied: closed generations, oldest first,
/// and the active one. Owned by the group's loop.
struct IndexStack {
  private(set) var generations: [Generation] = []
  var active: ActiveIndex
  private let diskCount: Int

  init(diskCount: Int, generations: [Generation]) {
    self.diskCount = diskCount
    self.generations = generations
    active = ActiveIndex(diskCount: diskCount)
  }

  /// Closes the active generation. Nil when it has no record.
  mutating func freeze() -> Generation? {
    guard let span = active.span else { return nil }
    let generation = Generation(freezing: active, span: span)
    active = ActiveIndex(diskCount: diskCount)
    generations.append(generation)
    return generation
  }

  /// Puts the flat or merged form in place of the generations it covers. Does nothing when they
  /// have been dropped in the meantime.
  mutating func replace(with generation: Generation) {
    guard
      let first = generations.firstIndex(where: {
        $0.span.firstSequence == generation.span.firstSequence
      }),
      let last = generations.firstIndex(where: {
        $0.span.lastSequence == generation.span.lastSequence
      }), first <= last
    else { return }
    generations.replaceSubrange(first...last, with: [generation])
  }

  /// Forgets what is applied.
  mutating func drop(through sequence: SequenceNumber) {
    let count = generations.prefix { $0.span.lastSequence <= sequence }.count
    generations.removeFirst(count)
  }

  /// Where the newest bytes of the disk at `offset` are, and for how many bytes (at most `limit`)
  /// that holds. A nil source: in the base.
  @inline(__always)
  func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    var found = active.disks[disk.index].map.piece(at: offset, limit: limit)
    var index = generations.count
    while found.source == nil, index > 0 {
      index -= 1
      found = generations[index].piece(disk: disk, at: offset, limit: found.length)
    }
    return found
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
