import BlockModel

/// The closed generations that are not applied, and merged forms of them, so that a look-up
/// consults few maps. Owned by the group's loop.
///
/// Block `b` of level `k` is the merge of all generations of the `fanOut`ᵏ segments from
/// `b · fanOut`ᵏ on; of level 0, of one segment, which is needed only where that has several
/// generations. Numbers of segments stay, also over a start. `cover` takes the largest blocks that
/// fit: of `n` segments at most `fanOut − 1` blocks of each of the log(n) levels.
///
/// All levels are kept, because a view may be opened at any instant and then needs the small blocks
/// right before it; so an extent is there once for each level (24 bytes), less what overwriting
/// saves. A fan-out of 8 means 3 copies and at most 15 maps (8 on average) for the 128 segments of
/// a journal of 8 GiB; 2 would mean 8 copies and 7 maps.
///
/// **Memory.** What does not fit into `IndexMemory` lies in files: a generation in the sidecar of
/// its segment, and before that has one, like a block, in a file of its own without a name. Such a
/// file is read page by page; one that cannot be read is replaced by what it was made of
/// (`FiledIndex`).
///
/// **The floor rule.** Apply takes generations one by one, and a block stays in use until its
/// newest one is applied. So a block may name bytes of an applied record, whose segment may be
/// recycled. Such a source is read from the base instead (`ExtentSource.unlessBelow`), which is
/// right because:
///
/// 1. A segment is recycled only when all its records are applied: the base got them.
/// 2. The block names the record, so no newer record in the block wrote these bytes, and neither
///    did a newer map of the same cover, or the look-up had ended there.
/// 3. Hence no record that the reader may see is newer, and the base still holds what it got. A
///    view's base is not past its instant (what apply takes later up to it is in the view's maps).
///
/// Whoever looks up in a cover must apply the rule, with a floor at or below the oldest segment
/// that stays while the source is read: the journal its oldest segment, a view the oldest one that
/// it pinned. Zeros and holes need no segment and are right either way.
struct IndexLevels {
  #if MUTANTS
    // Simulated journals have few segments.
    static let fanOutBits: UInt32 = 1
  #else
    static let fanOutBits: UInt32 = 3
  #endif

  /// Not merged, oldest first.
  private(set) var generations: [Generation]
  /// Of `generations`.
  private(set) var checkpointCount: Int
  /// `blocks[k][b]` is block `b` of level `k`.
  private var blocks: [[UInt32: Generation]] = []
  /// Segments with several generations.
  private var splitSegments: Set<UInt32> = []
  /// Segments before this one get no more generations, nor sidecars.
  private var completeBefore: UInt32 = 0
  /// Sidecars of segments whose maps are still in memory, or that have several generations.
  private var sidecars: [UInt32: Sidecar] = [:]
  /// Where generations must stay apart, and how many want it.
  private var borders: [SequenceNumber: Int] = [:]
  private let shelf: IndexShelf
  /// Of the index that the jobs are of: one that was given up gets no results.
  let life: UInt64
  /// A generation may be as it was closed.
  private var hasUnplaced = true
  /// Nothing is left to merge.
  private var isSettled = false {
    didSet { if !isSettled { revision += 1 } }
  }
  /// Of what `cover` is made of.
  private(set) var revision = 0
  /// How often a sidecar took the place of generations.
  private(set) var evictedCount = 0

  private struct Sidecar {
    let index: FiledIndex
    let span: RecordSpan
  }

  /// - Parameter life: one journal never uses it twice.
  init(_ generations: [Generation], life: UInt64, shelf: IndexShelf) {
    self.generations = []
    checkpointCount = 0
    self.life = life
    self.shelf = shelf
    for generation in generations { append(generation) }
  }

  mutating func append(_ generation: Generation) {
    hasUnplaced = true
    if generations.last?.segment == generation.segment {
      splitSegments.insert(generation.segment)
    }
    generations.append(generation)
    checkpointCount += generation.checkpoints.count
    isSettled = false
  }

  /// All segments before number `segment` have all their generations, and their sidecars if they
  /// get any.
  mutating func complete(before segment: UInt32) {
    if segment <= completeBefore { return }
    completeBefore = segment
    isSettled = false
  }

  /// Forgets what is applied.
  mutating func drop(through sequence: SequenceNumber) {
    let count = generations.prefix { $0.span.lastSequence <= sequence }.count
    if count == 0 { return }
    checkpointCount -= generations[..<count].reduce(0) { $0 + $1.checkpoints.count }
    generations.removeFirst(count)
    for level in blocks.indices {
      blocks[level] = blocks[level].filter { $0.value.span.lastSequence > sequence }
    }
    let oldest = generations.first?.segment ?? .max
    sidecars = sidecars.filter { $0.key >= oldest }
    splitSegments = splitSegments.filter { $0 >= oldest }
    isSettled = false
  }

  // MARK: Looking up

  /// The fewest maps that together stand for the oldest `count` generations, oldest first. The
  /// first may begin with applied records: see the floor rule.
  func cover(_ count: Int) -> [Generation] { cover(0..<count, mayBeginEarlier: true) }

  /// Those that stand for the records of a span and for no others. Generations begin and end there.
  func cover(of span: RecordSpan) -> [Generation] {
    let first = generations.firstIndexInOrder { $0.span.lastSequence >= span.firstSequence }
    let end = place(behind: span.lastSequence)
    return first < end ? cover(first..<end, mayBeginEarlier: false) : []
  }

  private func cover(_ range: Range<Int>, mayBeginEarlier: Bool) -> [Generation] {
    var maps: [Generation] = []
    var index = range.lowerBound
    while index < range.upperBound {
      let map = largestBlock(at: index, range, mayBeginEarlier) ?? generations[index]
      maps.append(map)
      index = map === generations[index] ? index + 1 : place(behind: map.span.lastSequence)
    }
    return maps
  }

  /// The largest block that holds the generation at `index` and none behind the range, nor, but for
  /// applied ones where that is allowed, before it.
  private func largestBlock(
    at index: Int, _ range: Range<Int>, _ mayBeginEarlier: Bool
  ) -> Generation? {
    let last = generations[range.upperBound - 1].span.lastSequence
    let first = generations[index].span.firstSequence
    for level in blocks.indices.reversed() {
      let block = generations[index].segment >> Self.bits(level)
      // One of a segment that goes on ends before its newest generations.
      if let map = blocks[level][block], map.span.lastSequence <= last,
        map.span.lastSequence >= generations[index].span.lastSequence,
        map.span.firstSequence == first || mayBeginEarlier && index == 0
      {
        return map
      }
    }
    return nil
  }

  private func place(behind sequence: SequenceNumber) -> Int {
    generations.firstIndexInOrder { $0.span.firstSequence > sequence }
  }

  private static func bits(_ level: Int) -> UInt32 { fanOutBits * UInt32(level) }

  /// Those of the segments of a block.
  private func generations(_ block: UInt32, _ level: Int) -> ArraySlice<Generation> {
    let bits = Self.bits(level)
    let first = generations.firstIndexInOrder { $0.segment >> bits >= block }
    let end = generations.firstIndexInOrder { $0.segment >> bits > block }
    return generations[first..<end]
  }

  // MARK: Merging

  /// A merge that should be made next; nil when there is none. To be run elsewhere, over immutable
  /// inputs, and given to `install`. Takes long for many segments.
  mutating func nextMerge() -> IndexJob? {
    if !isSettled {
      if let job = nextBlock() { return job }
      isSettled = true
    }
    return nextFiling()
  }

  private mutating func nextBlock() -> IndexJob? {
    guard let oldest = generations.first?.segment, let newest = generations.last?.segment else {
      return nil
    }
    for segment in splitSegments.sorted() {
      if let inputs = partsOfSegment(segment) { return merge(inputs, segment, 0) }
    }
    var level = 1
    while true {
      let bits = Self.bits(level)
      let end = min(completeBefore >> bits, (newest >> bits) + 1)
      let first = oldest >> bits
      if first >= end { return nil }
      for block in first..<end where level >= blocks.count || blocks[level][block] == nil {
        if let inputs = parts(of: block, level: level) { return merge(inputs, block, level) }
      }
      level += 1
    }
  }

  private mutating func merge(
    _ inputs: [Generation], _ block: UInt32, _ level: Int
  ) -> IndexJob {
    let byteCount = inputs.reduce(0) {
      $0 + max($1.mapByteCount, $1.flatExtentCount * Generation.extentByteCount)
    }
    return IndexJob(
      life: life, kind: .merge(level: level, block: block), inputs: inputs, shelf: shelf,
      fallback: inFiles(inputs),
      share: shelf.memory.isWorth(byteCount: byteCount) ? makeRoom(byteCount) : nil)
  }

  /// What a file that is made of `inputs` may keep: nothing that is in memory, so that this can
  /// leave it.
  private func inFiles(_ inputs: [Generation]) -> [Generation] {
    inputs.flatMap { input -> [Generation] in
      if !input.isInMemory { return [input] }
      let first = generations.firstIndexInOrder {
        $0.span.lastSequence >= input.span.firstSequence
      }
      return generations[first..<place(behind: input.span.lastSequence)].map { generation in
        if generation.isInMemory, let sidecar = sidecar(of: generation) {
          return generation.filed(sidecar.index)
        }
        return generation.scanned(cache: shelf.memory.cache)
      }
    }
  }

  /// The blocks of the level below, or generations, that are not wholly applied; nil when one is
  /// missing or a merge of them is not needed.
  private func parts(of block: UInt32, level: Int) -> [Generation]? {
    var parts: [Generation] = []
    var rest = generations(block, level)
    while let next = rest.first {
      let part = next.segment >> Self.bits(level - 1)
      let own = rest.prefix { $0.segment >> Self.bits(level - 1) == part }
      if level <= blocks.count, let map = blocks[level - 1][part],
        map.span.lastSequence == own.last?.span.lastSequence
      {
        parts.append(map)
      } else if level == 1, own.count == 1 {
        parts.append(next)
      } else {
        return nil
      }
      rest = rest[own.endIndex...]
    }
    return parts.isEmpty ? nil : parts
  }

  /// What the block of one segment is made of: the block so far, and the generations that came
  /// since, if they are worth it: eight of them, and not few against those before, or all that the
  /// segment will get.
  private func partsOfSegment(_ segment: UInt32) -> [Generation]? {
    let own = generations(segment, 0)
    let block = blocks.isEmpty ? nil : blocks[0][segment]
    let rest =
      block.map { block in
        own.drop { $0.span.lastSequence <= block.span.lastSequence }
      } ?? own
    let isWorthIt =
      segment < completeBefore
      ? own.count > 1 && !rest.isEmpty : rest.count >= 8 && rest.count >= own.count / 3
    return isWorthIt ? (block.map { [$0] } ?? []) + rest : nil
  }

  /// Puts what a job made into use. Does nothing when all of it was applied meanwhile, or belongs
  /// to an index that the journal has given up.
  mutating func install(_ result: Generation, of job: IndexJob) {
    guard job.life == life, let oldest = generations.first,
      result.span.lastSequence >= oldest.span.firstSequence
    else { return }
    switch job.kind {
    case .place:
      let index = place(behind: result.span.lastSequence) - 1
      if generations[index] === job.inputs[0] { generations[index] = result }
    case .merge(let level, let block):
      while blocks.count <= level { blocks.append([:]) }
      blocks[level][block] = result
    }
    isSettled = false
  }

  /// A job came to nothing. What takes memory that there is not, and is not needed, leaves it: a
  /// look-up consults what it was made of.
  mutating func failed(_ job: IndexJob) {
    guard job.life == life, case .merge(let level, let block) = job.kind, level < blocks.count,
      shelf.memory.isOver, blocks[level][block]?.isInMemory == true
    else { return }
    blocks[level][block] = nil
    isSettled = false
  }

  // MARK: Files

  /// The oldest generation that must be put somewhere: as it was closed, or in memory although
  /// there is no room.
  mutating func nextPlacing() -> IndexJob? {
    if hasUnplaced, let generation = generations.first(where: { !$0.isFlat }) {
      return IndexJob(
        life: life, kind: .place, inputs: [generation], shelf: shelf,
        share: makeRoom(generation.mapByteCount))
    }
    hasUnplaced = false
    guard shelf.memory.isOver else { return nil }
    let place = generations.firstIndex {
      $0.isInMemory && $0.origin != nil && $0.mapByteCount >= shelf.pageByteCount
    }
    return place.map {
      IndexJob(life: life, kind: .place, inputs: [generations[$0]], shelf: shelf)
    }
  }

  /// Takes what has a sidecar out of memory until so much is free.
  private mutating func makeRoom(_ byteCount: Int) -> IndexMemory.Share? {
    while true {
      if let share = shelf.share(byteCount: byteCount) { return share }
      if !evictOldest() { return nil }
    }
  }

  /// The sidecar of a segment whose generations are all here has been written.
  mutating func noteSidecar(_ index: FiledIndex, of segment: UInt32, _ span: RecordSpan) {
    sidecars[segment] = Sidecar(index: index, span: span)
    let own = generations(segment, 0)
    if own.count > 1 || own.first?.isInMemory == false, !useSidecar(of: segment),
      let map = sidecarMap(of: segment)
    {
      if blocks.isEmpty { blocks.append([:]) }
      blocks[0][segment] = map
      isSettled = false
    }
    while shelf.memory.isOver, evictOldest() {}
  }

  private func sidecar(of generation: Generation) -> Sidecar? {
    guard let sidecar = sidecars[generation.segment],
      sidecar.span.firstSequence == generation.span.firstSequence,
      sidecar.span.lastSequence == generation.span.lastSequence
    else { return nil }
    return sidecar
  }

  private mutating func evictOldest() -> Bool {
    guard let oldest = sidecars.keys.min() else { return false }
    if useSidecar(of: oldest) { return true }
    for segment in sidecars.keys.sorted() where useSidecar(of: segment) { return true }
    return false
  }

  /// One generation in place of those of a segment; nil when they are not all here.
  private func sidecarMap(of segment: UInt32) -> Generation? {
    let own = generations(segment, 0)
    guard let sidecar = sidecars[segment], let first = own.first?.span, let last = own.last?.span,
      first.firstSequence == sidecar.span.firstSequence,
      last.lastSequence == sidecar.span.lastSequence
    else { return nil }
    return Generation(
      span: RecordSpan(joining: Array(own)), checkpoints: own.flatMap(\.checkpoints),
      segment: segment, filed: sidecar.index, origin: own.first?.origin)
  }

  /// Puts one generation that the sidecar has in place of those of its segment. False when that is
  /// not possible: some of it is applied, or a border lies in it.
  @discardableResult
  private mutating func useSidecar(of segment: UInt32) -> Bool {
    guard let map = sidecarMap(of: segment) else {
      sidecars[segment] = nil
      return false
    }
    let hasBorder = borders.keys.contains {
      $0 >= map.span.firstSequence && $0 < map.span.lastSequence
    }
    if hasBorder { return false }
    generations.replaceSubrange(generations(segment, 0).indices, with: [map])
    evictedCount += 1
    sidecars[segment] = nil
    splitSegments.remove(segment)
    if !blocks.isEmpty { blocks[0][segment] = nil }
    isSettled = false
    return true
  }

  /// Generations stay apart behind record `sequence`, where one ends, until as many calls of
  /// `removeBorder` have come.
  mutating func addBorder(_ sequence: SequenceNumber) { borders[sequence, default: 0] += 1 }

  mutating func removeBorder(_ sequence: SequenceNumber) {
    guard let count = borders[sequence] else { return }
    borders[sequence] = count > 1 ? count - 1 : nil
    let place = generations.firstIndexInOrder { $0.span.lastSequence >= sequence }
    guard count == 1, place < generations.count else { return }
    let segment = generations[place].segment
    if splitSegments.contains(segment) { useSidecar(of: segment) }
  }

  /// A block that is in memory although there is no room: the smallest first, which the larger ones
  /// stand for mostly.
  private func nextFiling() -> IndexJob? {
    guard shelf.memory.isOver else { return nil }
    for level in blocks.indices {
      let blocks = blocks[level].filter { $0.value.isInMemory }
      guard let block = blocks.min(by: { $0.key < $1.key }) else { continue }
      return IndexJob(
        life: life, kind: .merge(level: level, block: block.key), inputs: [block.value],
        shelf: shelf, fallback: inFiles([block.value]))
    }
    return nil
  }
}
