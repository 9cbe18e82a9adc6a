import Synchronization
import SystemIO

/// The pages of index files that were read last, of all groups of a site: what bounds the memory
/// that a long history takes. Any thread; nothing here waits for a disk.
public final class IndexPageCache: Sendable {
  struct Key: Hashable {
    let file: UInt64
    let page: UInt32
  }

  private struct Shard {
    var places: [Key: Int] = [:]
    var entries: [(key: Key, page: IndexPage, isUsed: Bool)] = []
    /// Where the next page to give way is looked for.
    var hand = 0
    var byteCount = 0
  }

  private static let shardCount = 16
  private let shards: [ShardBox]
  private let shardByteLimit: Int
  private let files = Atomic<UInt64>(0)

  private final class ShardBox: Sendable {
    let content = Mutex(Shard())
  }

  /// - Parameter byteLimit: of the pages.
  public init(byteLimit: Int) {
    shardByteLimit = byteLimit / Self.shardCount
    shards = (0..<Self.shardCount).map { _ in ShardBox() }
  }

  /// For a file's keys.
  func newFile() -> UInt64 { files.add(1, ordering: .relaxed).newValue }

  private func shard(_ key: Key) -> ShardBox {
    let mixed = (key.file &* 0x9E37_79B9_7F4A_7C15) ^ (UInt64(key.page) &* 0xC2B2_AE3D_27D4_EB4F)
    return shards[Int(mixed >> 32) % Self.shardCount]
  }

  func page(_ key: Key) -> IndexPage? {
    shard(key).content.withLock { shard in
      guard let place = shard.places[key] else { return nil }
      shard.entries[place].isUsed = true
      return shard.entries[place].page
    }
  }

  func insert(_ page: IndexPage, _ key: Key) {
    shard(key).content.withLock { shard in
      if shard.places[key] != nil { return }
      while shard.byteCount + page.byteCount > shardByteLimit, !shard.entries.isEmpty {
        removeOne(from: &shard)
      }
      shard.places[key] = shard.entries.count
      shard.entries.append((key, page, true))
      shard.byteCount += page.byteCount
    }
  }

  /// The next that was not used since the hand passed it last.
  private func removeOne(from shard: inout Shard) {
    while true {
      if shard.hand >= shard.entries.count { shard.hand = 0 }
      if shard.entries[shard.hand].isUsed {
        shard.entries[shard.hand].isUsed = false
        shard.hand += 1
        continue
      }
      let gone = shard.entries[shard.hand]
      let last = shard.entries.removeLast()
      if shard.hand < shard.entries.count {
        shard.entries[shard.hand] = last
        shard.places[last.key] = shard.hand
      }
      shard.places[gone.key] = nil
      shard.byteCount -= gone.page.byteCount
      return
    }
  }
}
