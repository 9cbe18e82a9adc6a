import BlockModel
import Journal
import Replication
import SystemIO

/// What a follower has where it lacks something: it tells the owner by digests, block by block, so
/// that only what differs comes over the link. Confined to the group's loop.
///
/// What is read has all records up to the common one, and of those after it no matter which: see
/// `Restamping`. It is read between other jobs of the keeper, a little at a time, and no further
/// ahead of the owner than that will keep in mind.
struct Digesting {
  fileprivate struct Work {
    /// Of no other list.
    let number: Int
    let receiver: any IncomingLink
    let common: SequenceNumber
    var blocks: LackingBlocks
    /// What was told, as far as the owner has not come to its end: where it ends, and how many
    /// blocks it is.
    var ahead: [(end: DiskPosition, count: Int)] = []
    var unreadCount = 0

    var aheadCount: Int { ahead.reduce(0) { $0 + $1.count } }
  }

  fileprivate var work: Work?
  fileprivate var count = 0
}

extension Group {
  private static var digestBatchLimit: Int { 256 }
  /// What one job of the keeper reads.
  private static var digestByteLimit: Int { 1 << 20 }
  /// After so long no other block is read: apply waits for the keeper.
  private static var digestNanoseconds: UInt64 { 20_000_000 }
  /// After so many blocks that cannot be read, no more are tried.
  private static var unreadLimit: Int { 64 }

  /// Of what was named to the owner on this connection.
  func beginDigesting(
    _ extents: DiskExtents, after common: SequenceNumber, for receiver: any IncomingLink
  ) {
    digesting.count += 1
    digesting.work = .init(
      number: digesting.count, receiver: receiver, common: common,
      blocks: LackingBlocks(extents))
    continueDigesting()
  }

  func endDigesting() { digesting.work = nil }

  /// The owner has come so far.
  func digestsAreDone(before position: DiskPosition) {
    digesting.work?.ahead.removeAll { $0.end <= position }
    digesting.work?.blocks.pass(to: position)
    continueDigesting()
  }

  /// Several times a second, and when there may be something to do.
  func continueDigesting() {
    // Behind a step of apply it would wait with a segment pinned that the step may free.
    guard let work = digesting.work, lifecycle.isServing, !lifecycle.runs(.apply), let journal,
      work.aheadCount + Self.digestBatchLimit <= DigestWindow.limit, let next = work.blocks.next
    else { return }
    guard let disk = diskTable.withLock({ $0[next.disk] }) else {
      let end = DiskPosition(next.disk, .max)
      tell([], from: end, to: end)
      return continueDigesting()
    }
    guard closeIndex(through: work.common, journal), lifecycle.begin(.content) else { return }
    let batch = Self.batch(of: work.blocks)
    let (content, oldest) = presentContent(of: disk, journal)
    keeper.submit { [self] in
      let found = Self.digests(of: batch, content)
      loop.post { [self] in
        oldest?.unpin()
        lifecycle.ended(.content)
        if digesting.work?.number == work.number {
          tell(found.digests, of: batch, found.failure)
        }
        goOn()
      }
    }
  }

  /// Of one disk.
  private static func batch(of blocks: LackingBlocks) -> [DiskExtent] {
    var blocks = blocks
    var batch: [DiskExtent] = []
    while batch.count < digestBatchLimit, let block = blocks.next,
      batch.last.map({ $0.disk == block.disk }) ?? true
    {
      batch.append(block)
      blocks.pass()
    }
    return batch
  }

  /// Of the first of the blocks; nil for one that cannot be read. Blocks the caller.
  private static func digests(
    of batch: [DiskExtent], _ content: PresentContent
  ) -> (digests: [BlockDigest?], failure: String?) {
    var digests: [BlockDigest?] = []
    var failure: String?
    var readByteCount = 0
    let end = SystemClock.monotonicNanoseconds() + digestNanoseconds
    for block in batch {
      guard readByteCount < digestByteLimit, SystemClock.monotonicNanoseconds() < end else { break }
      do {
        guard block.range.end <= content.reader.store.byteCount else {
          digests.append(nil)
          continue
        }
        let bytes = try content.bytes(block.range)
        readByteCount += bytes?.count ?? 0
        digests.append(BlockDigest(of: bytes, byteCount: block.range.length))
      } catch {
        digests.append(nil)
        failure = "\(error)"
      }
    }
    return (digests, failure)
  }

  /// Of the first of the blocks.
  private func tell(_ digests: [BlockDigest?], of batch: [DiskExtent], _ failure: String?) {
    var place = 0
    while place < digests.count {
      let run = digests[place...].prefix { $0 != nil }.compactMap(\.self)
      if !run.isEmpty { tell(run, from: batch[place].start, to: batch[place + run.count - 1].end) }
      place += run.count
      let unread = digests[place...].prefix { $0 == nil }.count
      place += unread
      // The owner is not to wait for them.
      if unread > 0 { tell([], from: batch[place - 1].end, to: batch[place - 1].end) }
      digesting.work?.unreadCount += unread
    }
    if let count = digesting.work?.unreadCount, count > Self.unreadLimit {
      log(
        "group \(configuration.name): what lies in \(count) blocks that are lacking here cannot "
          + "be read (\(failure ?? "they lie behind the end of their disk")): the owner sends all "
          + "that is left")
      tell([], from: DigestWindow.end, to: DigestWindow.end)
      endDigesting()
    }
    continueDigesting()
  }

  private func tell(_ digests: [BlockDigest], from start: DiskPosition, to end: DiskPosition) {
    digesting.work?.receiver.tell(digests, from: start)
    digesting.work?.blocks.pass(to: end)
    if !digests.isEmpty { digesting.work?.ahead.append((end, digests.count)) }
  }
}
