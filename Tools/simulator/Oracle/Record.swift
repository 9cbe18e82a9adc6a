import BlockModel
import Journal

/// One record of a group's order, as it was seen to be written to a segment file of the protected
/// site. The recovery site's records are compared with these, and are then the same objects.
final class Record {
  let sequence: UInt64
  let identity: SegmentIdentity
  /// What it says of a disk, where it is a marker.
  let change: DiskChange?
  /// Of a disk that comes: what it holds.
  var content: DiskImage?
  /// In its segment.
  let index: Int
  let header: RecordHeader
  let payload: [UInt8]
  /// The one before it in the order of its time.
  let previous: Record?
  /// The protected site lost it: another record has, or will have, its number.
  var isVoid = false
  /// Stamped in a life of its site whose clock was behind that of an earlier life: an instant that
  /// was said to be over then may come to hold it.
  var isBackdated = false
  /// A part of its payload that a site's disk has changed.
  struct Damage {
    let role: Role
    let bytes: Range<Int>
    /// The site has not started again since: it has verified the record before, and applies it as
    /// it is.
    var isRecent = true
  }
  var damage: [Damage] = []
  /// Whose it is; nil for a checkpoint.
  var request: ClientRequest?

  init(_ found: SegmentWatcher.Found, after previous: Record?) {
    self.previous = previous
    sequence = found.sequence
    identity = found.identity
    index = found.index
    header = found.header
    payload = found.payload
    let isMarker = found.header.kind == .disk
    let number = found.header.disk
    change = unsafe found.payload.withUnsafeBytes { bytes in
      isMarker ? unsafe DiskChange(number: number, payload: bytes) : nil
    }
  }

  var disk: Int { header.disk.index }
  var start: Int { Int(header.offset) }
  var changesDisk: Bool { header.kind != .checkpoint && header.kind != .disk }
  var length: Int { changesDisk ? Int(header.length) : 0 }
  var end: Int { start + length }

  func apply(to disks: inout [DiskImage]) {
    switch header.kind {
    case .write: disks[disk].write(payload, at: start)
    case .zero, .trim: disks[disk].zero(at: start, count: length)
    case .checkpoint: break
    case .disk:
      guard change?.event == .added, let content else { return }
      while disks.count <= disk { disks.append(DiskImage([])) }
      // The marker may come twice, and means the same as once.
      if disks[disk].byteCount == 0 { disks[disk] = content }
    }
  }

  /// How its byte at `offset` of the disk is damaged at the site; nil when it is not.
  func damage(at role: Role, _ offset: Int) -> Damage? {
    damage.last { $0.role == role && $0.bytes.contains(offset - start) }
  }

  /// Whether it changes a part of a disk.
  func overlaps(_ disk: Int, _ offset: Int, _ count: Int) -> Bool {
    self.disk == disk && start < offset + count && end > offset
  }

  /// What the record leaves at `offset` of its disk; nil when it does not touch it.
  func byte(at offset: Int) -> UInt8? {
    guard offset >= start, offset < end else { return nil }
    return header.kind == .write ? payload[offset - start] : 0
  }
}

extension Record: CustomStringConvertible {
  var description: String {
    "record \(sequence) (epoch \(identity.epoch), segment \(identity.number), index \(index), "
      + "\(header.kind), disk \(disk), \(start)+\(length), at \(header.timestamp)"
      + (isVoid ? ", void)" : ")")
  }
}
