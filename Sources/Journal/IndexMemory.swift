import Synchronization

/// What the indexes of all groups of a site may take of its memory. Any thread.
public final class IndexMemory: Sendable {
  /// Of maps that could be in files.
  let mapByteLimit: Int
  private let mostRecords: Int
  let cache: IndexPageCache
  private let used = Atomic<Int>(0)
  fileprivate let groups = Atomic<Int>(0)

  /// A journal's index that fits `mapByteLimit` bytes is looked up in memory only.
  public init(
    mapByteLimit: Int = IndexMemory.mapByteLimit, cacheByteLimit: Int = IndexMemory.cacheByteLimit,
    recordLimit: Int = IndexMemory.recordLimit
  ) {
    self.mapByteLimit = mapByteLimit
    mostRecords = recordLimit
    cache = IndexPageCache(byteLimit: cacheByteLimit)
  }

  public static let mapByteLimit = 32 << 20
  public static let cacheByteLimit = 16 << 20
  public static let recordLimit = 32 << 10
  /// All groups together, unless `leastRecords` are more: 40 bytes each.
  private static let recordsInMaking = 1 << 20
  private static let leastRecords = 4 << 10

  /// So many records are in one generation at most: it is made in memory, and each group makes one.
  var recordLimit: Int {
    let share = Self.recordsInMaking / max(1, groups.load(ordering: .relaxed))
    return min(mostRecords, max(share, Self.leastRecords))
  }

  /// Maps are in memory that do not fit: they could not be written to files.
  var isOver: Bool { used.load(ordering: .relaxed) > mapByteLimit }

  /// A map of so many bytes may have room made for it.
  func isWorth(byteCount: Int) -> Bool { byteCount <= mapByteLimit / 8 }

  /// For as long as the share lives.
  func share(byteCount: Int, for use: IndexUse) -> Share { Share(byteCount, of: self, for: use) }

  /// Nil when there is no room.
  func shareIfFree(byteCount: Int, for use: IndexUse) -> Share? {
    if used.load(ordering: .relaxed) + byteCount > mapByteLimit { return nil }
    return share(byteCount: byteCount, for: use)
  }

  final class Share: Sendable {
    private let byteCount: Int
    private let memory: IndexMemory
    private let use: IndexUse

    fileprivate init(_ byteCount: Int, of memory: IndexMemory, for use: IndexUse) {
      self.byteCount = byteCount
      self.memory = memory
      self.use = use
      memory.used.add(byteCount, ordering: .relaxed)
      use.inMemory.add(byteCount, ordering: .relaxed)
    }

    deinit {
      memory.used.subtract(byteCount, ordering: .relaxed)
      use.inMemory.subtract(byteCount, ordering: .relaxed)
    }
  }
}

/// What the index of one group takes, in bytes. Any thread.
public final class IndexUse: Sendable {
  fileprivate let inMemory = Atomic<Int>(0)
  private let inFiles = Atomic<Int>(0)
  private let memory: IndexMemory

  init(of memory: IndexMemory) {
    self.memory = memory
    memory.groups.add(1, ordering: .relaxed)
  }

  deinit { memory.groups.subtract(1, ordering: .relaxed) }

  /// Of closed generations and what they were merged to.
  public var memoryByteCount: Int { inMemory.load(ordering: .relaxed) }
  /// Of files that are in use.
  public var fileByteCount: Int { inFiles.load(ordering: .relaxed) }

  func add(fileByteCount: Int) { inFiles.add(fileByteCount, ordering: .relaxed) }
}
