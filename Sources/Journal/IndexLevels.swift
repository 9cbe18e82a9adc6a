import BlockModel

/// The closed generations that are not applied, and merged forms of them, so that a look-up
/// consults few maps. Owned by the group's loop.
///
/// Generations are numbered in their order, for as long as the journal lives. Block `b` of level
/// `k` is the merge of the `fanOut`ᵏ generations from `b · fanOut`ᵏ on; level 0 is the generations
/// themselves. `cover` takes the largest blocks that fit: of `n` generations at most
/// `fanOut − 1` blocks of each of the log(n) levels.
///
/// All levels are kept, because a view may be opened at any instant and then needs the small blocks
/// right before it; so an extent is in memory once for each level (24 bytes), less what
/// overwriting saves. A fan-out of 8 means 3 copies and at most 15 maps (8 on average) for the
/// 128 segments of a journal of 8 GiB; 2 would mean 8 copies and 7 maps.
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
  static let fanOutBits: UInt64 = 3
  /// No block of more extents than this is made: 3 GiB of memory.
  static let blockExtentLimit = 1 << 27

  /// Level 0, oldest first.
  private(set) var generations: [Generation]
  /// Of `generations`.
  private(set) var checkpointCount: Int
  /// The number of `generations[0]`; when there is none, of the next one.
  private var first: UInt64
  /// `merged[k − 1][b]` is block `b` of level `k`.
  private var merged: [[UInt64: Generation]] = []
  /// Nothing is left to merge.
  private var isSettled = false

  /// - Parameter first: number of the first generation. One journal never uses a number twice.
  init(_ generations: [Generation], first: UInt64) {
    self.generations = generations
    checkpointCount = generations.reduce(0) { $0 + $1.checkpoints.count }
    self.first = first
  }

  /// The number of the next generation.
  var next: UInt64 { first + UInt64(generations.count) }

  mutating func append(_ generation: Generation) {
    generations.append(generation)
    checkpointCount += generation.checkpoints.count
    isSettled = false
  }

  /// Forgets what is applied.
  mutating func drop(through sequence: SequenceNumber) {
    let count = generations.prefix { $0.span.lastSequence <= sequence }.count
    if count == 0 { return }
    checkpointCount -= generations[..<count].reduce(0) { $0 + $1.checkpoints.count }
    generations.removeFirst(count)
    first += UInt64(count)
    let first = first
    for index in merged.indices {
      merged[index] = merged[index].filter { Self.end(of: $0.key, level: index + 1) > first }
    }
    isSettled = false
  }

  // MARK: Looking up

  /// The fewest maps that together stand for the oldest `count` generations, oldest first. The
  /// first may begin with applied records: see the floor rule.
  func cover(_ count: Int) -> [Generation] {
    var maps: [Generation] = []
    var number = first
    let end = first + UInt64(count)
    while number < end {
      let (map, next) = largestBlock(at: number, end: end)
      maps.append(map)
      number = next
    }
    return maps
  }

  /// The largest block that holds generation `number` and ends by `end`. Only that of the oldest
  /// generation can begin before it: blocks are nested, so one that began later was met before.
  private func largestBlock(at number: UInt64, end: UInt64) -> (Generation, next: UInt64) {
    for level in merged.indices.reversed() {
      let block = number >> (Self.fanOutBits * UInt64(level + 1))
      let next = Self.end(of: block, level: level + 1)
      if next <= end, let map = merged[level][block] { return (map, next) }
    }
    return (generations[Int(number - first)], number + 1)
  }

  /// The number after the last generation of a block.
  private static func end(of block: UInt64, level: Int) -> UInt64 {
    (block + 1) << (fanOutBits * UInt64(level))
  }

  // MARK: Merging

  /// What should be made next; nil when there is nothing. To be run elsewhere, over immutable
  /// inputs, and given to `install`.
  mutating func nextJob() -> IndexJob? {
    if isSettled { return nil }
    if let job = nextFlattening() ?? nextMerge() { return job }
    isSettled = true
    return nil
  }

  private func nextFlattening() -> IndexJob? {
    generations.firstIndex { !$0.isFlat }.map {
      IndexJob(level: 0, block: first + UInt64($0), inputs: [generations[$0]])
    }
  }

  private func nextMerge() -> IndexJob? {
    var level = 1
    while true {
      let bits = Self.fanOutBits * UInt64(level)
      let blocks = (first >> bits)..<(max(next, first) >> bits)
      if blocks.isEmpty { return nil }
      for block in blocks where level > merged.count || merged[level - 1][block] == nil {
        if let inputs = parts(of: block, level: level) {
          return IndexJob(level: level, block: block, inputs: inputs)
        }
      }
      level += 1
    }
  }

  /// The blocks of the level below that are not wholly applied; nil when one is missing or they
  /// are too large.
  private func parts(of block: UInt64, level: Int) -> [Generation]? {
    var parts: [Generation] = []
    let oldest = first >> (Self.fanOutBits * UInt64(level - 1))
    let range = (block << Self.fanOutBits)..<((block + 1) << Self.fanOutBits)
    for part in range where part >= oldest {
      let map = level == 1 ? generations[Int(part - first)] : merged[level - 2][part]
      guard let map else { return nil }
      parts.append(map)
    }
    let count = parts.reduce(0) { $0 + $1.flatExtentCount }
    return count <= Self.blockExtentLimit ? parts : nil
  }

  /// Puts what a job made into use. Does nothing when all of it was applied meanwhile, or belongs
  /// to an index that the journal has given up: numbers are never used again.
  mutating func install(_ result: Generation, of job: IndexJob) {
    guard Self.end(of: job.block, level: job.level) > first, job.block < next else { return }
    if job.level == 0 {
      generations[Int(job.block - first)] = result
    } else {
      while merged.count < job.level { merged.append([:]) }
      merged[job.level - 1][job.block] = result
    }
    isSettled = false
  }
}

/// A piece of work on the index, for a thread that may take its time: it flattens a generation, or
/// merges several.
public struct IndexJob: Sendable {
  let level: Int
  let block: UInt64
  let inputs: [Generation]

  /// Takes time in proportion to the number of extents; does no I/O.
  public func run() -> Generation { level == 0 ? inputs[0].flattened() : .merging(inputs) }
}
