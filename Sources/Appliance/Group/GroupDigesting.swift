import BlockModel
import Journal
import Replication
import Storage
import SystemIO

/// What a follower has where it lacks something, or where a full copy is about to write: it tells
/// the owner by digests, block by block, so that only what differs comes over the link. Confined to
/// the group's loop.
///
/// What is read has all records up to the common one, and of those after it no matter which: see
/// `Restamping`. For a full copy there are none, and zeros are left out: the owner sends none. It
/// is read between other jobs of the keeper, a little at a time, and no further
/// ahead of the owner than that will keep in mind.
struct Digesting {
  fileprivate struct Work {
    /// Of no other list.
    let number: Int
    let receiver: any IncomingLink
    let common: SequenceNumber
    let isCopy: Bool
    /// Before it no holes are looked for.
    var dataEnd = DiskPosition.start
    var blocks: LackingBlocks
    /// What was told, as far as the owner has not come to its end: where it ends, and how many
    /// blocks it is.
    var ahead: [(end: DiskPosition, count: Int)] = []
    var unreadCount = 0

    var aheadCount: Int { ahead.reduce(0) { $0 + $1.count } }
  }

  /// What a job of the keeper has found in the blocks that come next, of the first of them.
  fileprivate struct Finding: Sendable {
    enum Block { case digest(BlockDigest), zeros, unread }

    var blocks: [Block] = []
    /// Instead of that: nothing but zeros lies before it.
    var zerosEnd: DiskPosition?
    /// Data was found that ends there.
    var dataEnd: DiskPosition
    var failure: String?
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
  /// A server is not asked about more at a time.
  private static var zeroLimit: UInt64 { 16 << 30 }
  /// After so many blocks that cannot be read, no more are tried.
  private static var unreadLimit: Int { 64 }

  /// Of what was named to the owner on this connection.
  func beginDigesting(
    _ extents: DiskExtents, after common: SequenceNumber, for receiver: any IncomingLink,
    isCopy: Bool = false
  ) {
    digesting.count += 1
    digesting.work = .init(
      number: digesting.count, receiver: receiver, common: common, isCopy: isCopy,
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
      let found = Self.look(at: batch, content, for: work)
      loop.post { [self] in
        oldest?.unpin()
        lifecycle.ended(.content)
        if digesting.work?.number == work.number { tell(found, of: batch) }
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

  /// Blocks the caller.
  private static func look(
    at batch: [DiskExtent], _ content: PresentContent, for work: Digesting.Work
  ) -> Digesting.Finding {
    var finding = Digesting.Finding(dataEnd: work.dataEnd)
    if work.isCopy, let first = batch.first, first.start >= work.dataEnd {
      passZeros(from: first.start, content.reader.store, &finding)
      if finding.zerosEnd != nil { return finding }
    }
    var readByteCount = 0
    let end = SystemClock.monotonicNanoseconds() + digestNanoseconds
    for block in batch {
      guard readByteCount < digestByteLimit, SystemClock.monotonicNanoseconds() < end else { break }
      do {
        guard block.range.end <= content.reader.store.byteCount else {
          finding.blocks.append(.unread)
          continue
        }
        let bytes = try content.bytes(block.range)
        readByteCount += bytes?.count ?? 0
        let isLeftOut = work.isCopy && isZero(bytes)
        finding.blocks.append(
          isLeftOut ? .zeros : .digest(BlockDigest(of: bytes, byteCount: block.range.length)))
      } catch {
        finding.blocks.append(.unread)
        finding.failure = "\(error)"
      }
    }
    return finding
  }

  /// - Parameter bytes: nil: zeros.
  private static func isZero(_ bytes: [UInt8]?) -> Bool {
    guard let bytes else { return true }
    return unsafe bytes.withUnsafeBytes { unsafe ZeroRuns.isZero($0) }
  }

  /// Where a store cannot tell, its bytes are read.
  private static func passZeros(
    from position: DiskPosition, _ store: DiskStore, _ finding: inout Digesting.Finding
  ) {
    let limit = min(store.byteCount, position.offset + zeroLimit)
    guard position.offset < limit else { return }
    do throws(StorageError) {
      let data = try store.nextDataRange(from: position.offset, limit: limit)
      let size = BlockDigest.blockByteCount
      let end = data.map { $0.start / size * size } ?? limit
      if end > position.offset { finding.zerosEnd = DiskPosition(position.disk, end) }
      finding.dataEnd = DiskPosition(position.disk, data?.end ?? limit)
    } catch { finding.dataEnd = DiskPosition(position.disk, limit) }
  }

  private func tell(_ finding: Digesting.Finding, of batch: [DiskExtent]) {
    digesting.work?.dataEnd = finding.dataEnd
    if let end = finding.zerosEnd {
      tell([], from: end, to: end)
      return continueDigesting()
    }
    var run: [BlockDigest] = []
    var start = DiskPosition.start
    var last: DiskPosition?
    for (block, found) in zip(batch, finding.blocks) {
      if case .digest(let digest) = found {
        if run.isEmpty { start = block.start }
        run.append(digest)
      } else {
        if !run.isEmpty, let last { tell(run, from: start, to: last) }
        run = []
        if case .unread = found { digesting.work?.unreadCount += 1 }
      }
      last = block.end
    }
    // The owner is not to wait for what is left out.
    if let last { tell(run, from: run.isEmpty ? last : start, to: last) }
    if let count = digesting.work?.unreadCount, count > Self.unreadLimit {
      log(
        "group \(configuration.name): what lies in \(count) blocks that the owner asks for cannot "
          + "be read (\(finding.failure ?? "they lie behind the end of their disk")): the owner "
          + "sends all that is left")
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
