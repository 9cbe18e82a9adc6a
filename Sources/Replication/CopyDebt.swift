import BlockModel
import Synchronization
import SystemIO

/// What a peer still lacks of the disks while it is copied: at first everything, later what has
/// changed since it was sent, or was sent and never confirmed.
///
/// Because this is known, nothing of the journal is kept for the peer meanwhile, and a connection
/// that breaks costs only what was under way. It lives in memory: a copy does not outlive the
/// process of the sender.
///
/// Any thread. The link's thread takes and confirms, the group's keeper notes what changes; while
/// no copy runs, a note costs one lock for each step of apply.
public final class CopyDebt: Sendable {
  private struct Sent {
    let serial: UInt64
    let disk: Int
    let range: ByteRange
  }

  private struct Copy {
    let identity: UInt64
    let totalByteCount: UInt64
    var lacking: [DirtyBitmap]
    /// What changed since records are sent again: it comes as records, or is lacking after all when
    /// they do not get there. Nil while none are sent.
    var changed: [DirtyBitmap]?
    /// Not confirmed, oldest first.
    var sent: [Sent] = []
    var serial: UInt64 = 1

    var lackingByteCount: UInt64 { lacking.reduce(0) { $0 + $1.dirtyBytes } }
  }

  private struct Content { var copy: Copy? }

  private let content = Mutex(Content())

  init() {}

  public var isActive: Bool { content.withLock { $0.copy != nil } }

  // MARK: Beginning and ending

  /// A copy of all bytes. Returns what the peer is to know it by: never 0.
  func begin(_ byteCounts: [UInt64]) -> UInt64 {
    let identity = max(1, SystemClock.realtimeNanoseconds())
    var lacking = byteCounts.map(Self.bitmap)
    for index in lacking.indices { lacking[index].markAll() }
    let total = byteCounts.reduce(0, +)
    content.withLock {
      $0.copy = Copy(identity: identity, totalByteCount: total, lacking: lacking)
    }
    return identity
  }

  /// After a connection has broken: the peer has all of this copy that was confirmed, now up to the
  /// mark `stored`. False when it has another copy, or none is known here.
  func resume(_ identity: UInt64, stored: UInt64 = 0) -> Bool {
    confirm(stored, of: identity)
    return content.withLock { content in
      guard content.copy?.identity == identity else { return false }
      #if MUTANTS
        if Mutant.forgetUnconfirmed.isOn { content.copy?.sent.removeAll() }
      #endif
      for sent in content.copy?.sent ?? [] { content.copy?.lacking[sent.disk].mark(sent.range) }
      content.copy?.sent.removeAll()
      for (disk, changed) in (content.copy?.changed ?? []).enumerated() {
        content.copy?.lacking[disk].grow(to: changed.sizeBytes)
        content.copy?.lacking[disk].formUnion(changed)
      }
      content.copy?.changed = nil
      return true
    }
  }

  /// From now on what changes comes as records. Called after the first of them was determined: of
  /// what is noted later, nothing is older than that.
  func follow() {
    content.withLock { content in
      guard var changed = content.copy?.lacking else { return }
      for index in changed.indices { changed[index].clearAll() }
      content.copy?.changed = changed
    }
  }

  func end() { content.withLock { $0.copy = nil } }

  private static func bitmap(_ byteCount: UInt64) -> DirtyBitmap {
    // Small blocks, because a guest's writes are: 16 KiB, for small disks 4 KiB. But a map has at
    // most 2²⁶ of them, which are 8 MiB for a disk of a TiB, unless a block would be more than a
    // piece.
    var block: UInt64 = byteCount <= 256 << 20 ? 4 << 10 : 16 << 10
    while block < 1 << 20, byteCount / block > 1 << 26 { block *= 2 }
    do throws(BlockModelError) {
      return try DirtyBitmap(sizeBytes: byteCount, chunkBytes: block)
    } catch { preconditionFailure("a disk of \(byteCount) bytes: \(error)") }
  }

  // MARK: Changes

  /// The base was written where `map` has extents. Called when the writes have returned, and before
  /// anything says that the records are applied: a piece that was read before must be read again.
  public func note(_ disk: DiskNumber, _ map: SealedExtentMap) {
    #if MUTANTS
      if Mutant.skipDebt.isOn { return }
    #endif
    content.withLock { content in
      guard content.copy != nil else { return }
      for index in 0..<map.count {
        let range = map[index].range
        if content.copy?.changed == nil {
          content.copy?.lacking[disk.index].grow(to: range.end)
          content.copy?.lacking[disk.index].mark(range)
        } else {
          content.copy?.changed?[disk.index].grow(to: range.end)
          content.copy?.changed?[disk.index].mark(range)
        }
      }
    }
  }

  // MARK: Paying

  var lackingByteCount: UInt64 { content.withLock { $0.copy?.lackingByteCount ?? 0 } }
  var totalByteCount: UInt64 { content.withLock { $0.copy?.totalByteCount ?? 0 } }

  /// Everything that was sent is confirmed.
  var isConfirmed: Bool { content.withLock { $0.copy?.sent.isEmpty ?? true } }

  /// The first bytes at or after `offset` that the peer lacks; at most 1 GiB.
  func lacking(_ disk: Int, from offset: UInt64) -> ByteRange? {
    content.withLock {
      $0.copy?.lacking[disk].nextDirtyRange(from: offset, maximumLength: 1 << 30)
    }
  }

  func blockByteCount(_ disk: Int) -> UInt64 {
    content.withLock { $0.copy?.lacking[disk].chunkBytes ?? 1 }
  }

  /// The range, of whole blocks, is about to be read and sent. Before it is read: what changes from
  /// here on is lacking again.
  func take(_ disk: Int, _ range: ByteRange) {
    content.withLock { content in
      guard let serial = content.copy?.serial else { return }
      content.copy?.lacking[disk].clear(range)
      content.copy?.sent.append(Sent(serial: serial, disk: disk, range: range))
    }
  }

  /// The range is not sent after all.
  func giveBack(_ disk: Int, _ range: ByteRange) {
    content.withLock { $0.copy?.lacking[disk].mark(range) }
  }

  /// A number for all that was taken so far, for `confirm`.
  func mark() -> UInt64 {
    content.withLock { content in
      let serial = content.copy?.serial ?? 0
      content.copy?.serial += 1
      return serial
    }
  }

  /// What was taken before the mark is durable at the peer.
  ///
  /// - Parameter identity: of the copy that the mark belongs to; nil: the present one.
  func confirm(_ serial: UInt64, of identity: UInt64? = nil) {
    content.withLock { content in
      if let identity, content.copy?.identity != identity { return }
      let count = content.copy?.sent.prefix { $0.serial <= serial }.count ?? 0
      content.copy?.sent.removeFirst(count)
    }
  }
}
