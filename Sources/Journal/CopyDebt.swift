import BlockModel
import Synchronization
import SystemIO

/// What a follower still lacks of the disks while it is copied: at first everything, later what has
/// changed since it was sent, or was sent and never confirmed.
///
/// Because this is known, nothing of the journal is kept for it meanwhile, and a connection
/// that breaks costs only what was under way. It lives in memory, and so does the copy's number,
/// which is drawn for it: no other owner, and not this one after a restart, goes on with a copy
/// without knowing what has changed since.
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
    var totalByteCount: UInt64
    /// By disk.
    var lacking: [DirtyBitmap]
    /// Disks that are copied: of others nothing is lacking.
    var members: Set<Int>
    /// What changed since records are sent again: it comes as records, or is lacking after all when
    /// they do not get there. Nil while none are sent.
    var changed: [DirtyBitmap]?
    /// Not confirmed, oldest first.
    var sent: [Sent] = []
    /// Of what was sent, so much was found alike at the peer: confirmed, and by serial number.
    var alike: UInt64 = 0
    var unconfirmedAlike: [(serial: UInt64, byteCount: UInt64)] = []
    /// What `mark` gives next, and the last that was confirmed.
    var serial: UInt64 = 1
    var confirmed: UInt64 = 0

    var lackingByteCount: UInt64 { lacking.reduce(0) { $0 + $1.dirtyBytes } }

    /// A disk came after the copy had begun.
    mutating func hold(_ disk: Int) {
      while lacking.count <= disk { lacking.append(CopyDebt.bitmap(0)) }
    }

    mutating func confirm(_ mark: UInt64) {
      confirmed = max(confirmed, mark)
      sent.removeFirst(sent.prefix { $0.serial <= mark }.count)
      let found = unconfirmedAlike.prefix { $0.serial <= mark }
      alike += found.reduce(0) { $0 + $1.byteCount }
      unconfirmedAlike.removeFirst(found.count)
    }

    mutating func noteAlike(_ byteCount: UInt64) {
      if unconfirmedAlike.last?.serial == serial {
        unconfirmedAlike[unconfirmedAlike.count - 1].byteCount += byteCount
      } else {
        unconfirmedAlike.append((serial, byteCount))
      }
    }

    /// What is not confirmed must come again, and what changed since records followed.
    mutating func owe() {
      #if MUTANTS
        if Mutant.forgetFollowed.isOn { changed = nil }
      #endif
      for sent in sent { lacking[sent.disk].mark(sent.range) }
      sent.removeAll()
      unconfirmedAlike.removeAll()
      for (disk, changed) in (changed ?? []).enumerated() {
        lacking[disk].grow(to: changed.sizeBytes)
        lacking[disk].formUnion(changed)
      }
      changed = nil
    }
  }

  private struct Content { var copy: Copy? }

  private let content = Mutex(Content())

  public init() {}

  public var isActive: Bool { content.withLock { $0.copy != nil } }

  // MARK: Beginning and ending

  /// A copy of all bytes. Returns what the peer is to know it by: never 0.
  public func begin(_ byteCounts: [UInt64]) -> UInt64 {
    var generator = SystemEntropy()
    let identity = max(1, generator.next())
    var lacking = byteCounts.map(Self.bitmap)
    for index in lacking.indices { lacking[index].markAll() }
    let total = byteCounts.reduce(0, +)
    content.withLock {
      $0.copy = Copy(
        identity: identity, totalByteCount: total, lacking: lacking,
        members: Set(byteCounts.indices.filter { byteCounts[$0] > 0 }))
    }
    return identity
  }

  /// After a connection has broken: what of this copy was not confirmed, and what came as records
  /// only, is lacking again. False when the peer has another copy, or less of this one than it had
  /// confirmed (it was put back to an older state), or none is known here.
  public func resume(_ found: JournalState.Copy) -> Bool {
    content.withLock { content in
      guard content.copy?.identity == found.number, let copy = content.copy,
        found.stored >= copy.confirmed, found.stored < copy.serial
      else { return false }
      content.copy?.confirm(found.stored)
      content.copy?.owe()
      return true
    }
  }

  /// From now on what changes comes as records. Called after the first of them was determined: of
  /// what is noted later, nothing is older than that.
  public func follow() {
    content.withLock { content in
      guard var changed = content.copy?.lacking else { return }
      for index in changed.indices { changed[index].clearAll() }
      content.copy?.changed = changed
    }
  }

  public func end() { content.withLock { $0.copy = nil } }

  /// After `resume`: disks that have come since are lacking as a whole, and of those that have left
  /// nothing is.
  ///
  /// - Parameter byteCounts: by number; 0: there is no such disk.
  public func adjust(to byteCounts: [UInt64]) {
    content.withLock { content in
      let wanted = Set(byteCounts.indices.filter { byteCounts[$0] > 0 })
      for disk in wanted.subtracting(content.copy?.members ?? []) {
        content.copy?.hold(disk)
        var all = Self.bitmap(byteCounts[disk])
        all.markAll()
        content.copy?.lacking[disk] = all
        content.copy?.totalByteCount += byteCounts[disk]
      }
      for disk in (content.copy?.members ?? []).subtracting(wanted) {
        content.copy?.lacking[disk].clearAll()
        content.copy?.sent.removeAll { $0.disk == disk }
      }
      content.copy?.members = wanted
    }
  }

  fileprivate static func bitmap(_ byteCount: UInt64) -> DirtyBitmap {
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
      // Of one that came since, or left, nothing is copied before the next connection knows it.
      guard content.copy?.members.contains(disk.index) == true else { return }
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

  public var lackingByteCount: UInt64 { content.withLock { $0.copy?.lackingByteCount ?? 0 } }
  public var totalByteCount: UInt64 { content.withLock { $0.copy?.totalByteCount ?? 0 } }

  /// What the peer had already of what was sent. What changes later, and is sent then, counts, too.
  public var alikeByteCount: UInt64 {
    content.withLock { content in
      guard let copy = content.copy else { return 0 }
      return copy.alike + copy.unconfirmedAlike.reduce(0) { $0 + $1.byteCount }
    }
  }

  /// The last of what was taken was found alike at the peer.
  public func noteAlike(_ byteCount: UInt64) {
    content.withLock { $0.copy?.noteAlike(byteCount) }
  }

  /// All that is lacking in whole blocks of so many bytes, or in the last one of a disk; as much of
  /// it as a list takes.
  public func lackingBlocks(of byteCount: UInt64) -> DiskExtents {
    content.withLock { content in
      var found = DiskExtents()
      for (index, map) in (content.copy?.lacking ?? []).enumerated() {
        var offset: UInt64 = 0
        while let run = map.nextDirtyRange(from: offset) {
          offset = run.end
          let start = (run.start + byteCount - 1) / byteCount * byteCount
          let end = run.end == map.sizeBytes ? run.end : run.end / byteCount * byteCount
          guard start < end else { continue }
          let extent = DiskExtent(
            DiskNumber(UInt16(index)), ByteRange(start: start, end: end))
          guard found.append(extent) else { return found }
        }
      }
      return found
    }
  }

  /// Everything that was sent is confirmed.
  public var isConfirmed: Bool { content.withLock { $0.copy?.sent.isEmpty ?? true } }

  /// The first bytes at or after `offset` that the peer lacks; at most 1 GiB.
  public func lacking(_ disk: Int, from offset: UInt64) -> ByteRange? {
    content.withLock { content in
      guard let copy = content.copy, disk < copy.lacking.count else { return nil }
      return copy.lacking[disk].nextDirtyRange(from: offset, maximumLength: 1 << 30)
    }
  }

  public func blockByteCount(_ disk: Int) -> UInt64 {
    content.withLock { $0.copy?.lacking[disk].chunkBytes ?? 1 }
  }

  /// The range, of whole blocks, is about to be read and sent. Before it is read: what changes from
  /// here on is lacking again.
  public func take(_ disk: Int, _ range: ByteRange) {
    content.withLock { content in
      guard let serial = content.copy?.serial else { return }
      content.copy?.lacking[disk].clear(range)
      content.copy?.sent.append(Sent(serial: serial, disk: disk, range: range))
    }
  }

  /// The range is not sent after all.
  public func giveBack(_ disk: Int, _ range: ByteRange) {
    content.withLock { $0.copy?.lacking[disk].mark(range) }
  }

  /// A number for all that was taken so far, for `confirm`.
  public func mark() -> UInt64 {
    content.withLock { content in
      let serial = content.copy?.serial ?? 0
      content.copy?.serial += 1
      return serial
    }
  }

  /// What was taken before the mark is durable at the peer.
  public func confirm(_ mark: UInt64) { content.withLock { $0.copy?.confirm(mark) } }
}
