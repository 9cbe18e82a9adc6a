import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO

// Disks that become larger while they are in use, and a peer whose disks have other sizes.
//
// A disk's size is that of its store, and it is read there by whoever needs it: a client is told it
// when it opens the disk and keeps to it as long as it is connected. The receiving side takes a
// record that its disk has room for, whatever the two sizes are. It stops before one that it has
// no room for; that record and all behind it stay in the sender's journal.

/// A record that a receiving group stops before.
struct Obstacle {
  /// Of the sender. A sender that has begun another may have lost the record.
  let incarnation: IncarnationIdentifier?
  let sequence: SequenceNumber
  let disk: DiskNumber
  /// Where on the disk it ends.
  let end: UInt64
  /// It is the marker of a disk that is not here.
  var newcomer: DiskChange?
}

/// A disk that is larger from now on. Its store has the room, and the state file names the size.
struct DiskGrowth: Sendable {
  let disk: GroupDisk
  let byteCount: UInt64
}

extension Group {
  /// By number, in bytes: where a disk's records end at the latest. Those of one that has left, and
  /// of which no instant is left, are nobody's, and may be anywhere.
  var diskBounds: [UInt64] {
    var bounds = [UInt64](repeating: .max, count: journal?.diskCount ?? 0)
    for disk in numberedDisks where disk.number.index < bounds.count {
      bounds[disk.number.index] = disk.store.byteCount
    }
    return bounds
  }

  /// Takes the sizes into use. On the loop.
  func grow(_ growths: [DiskGrowth]) {
    for growth in growths {
      let before = growth.disk.store.byteCount
      growth.disk.store.adopt(byteCount: growth.byteCount)
      log(
        "group \(configuration.name): disk \(growth.disk.name) has grown from "
          + "\(ByteCount.format(before)) to \(ByteCount.format(growth.byteCount))")
    }
    receiving.receiver?.disksGrew()
  }

  // MARK: Sending

  /// A peer has not the room for all that may be written here; nil when it has. On the loop.
  func tooSmall(
    _ link: LinkMonitor, _ peer: LinkMonitor.Snapshot
  ) -> (disk: String, text: String)? {
    for disk in disks {
      guard let peer = peer.peerDisks[named: disk.name], peer.byteCount < disk.store.byteCount
      else { continue }
      let text =
        "disk \(disk.name) has \(ByteCount.format(peer.byteCount)) at \(link.peerSite) and "
        + "\(ByteCount.format(disk.store.byteCount)) here: from the first write behind its end on, "
        + "nothing reaches \(link.peerSite) until it is made larger there and that site is reloaded"
      return (disk.name, text)
    }
    return nil
  }

  // MARK: Receiving

  /// As `tooSmall`, at the receiving side.
  var ownTooSmall: (disk: String, text: String)? {
    if let obstacle = receiving.obstacle, obstacle.newcomer == nil, isInTheWay(obstacle) {
      return (disk(obstacle.disk).name, text(obstacle))
    }
    guard let receiver = receiving.receiver else { return nil }
    return firstTooSmall(for: receiver.peerDisks).map { disk, peer in
      let text =
        "disk \(disk.name) has \(ByteCount.format(disk.store.byteCount)) here and "
        + "\(ByteCount.format(peer)) at \(receiving.peerSite ?? "the peer"): \(remedy)"
      return (disk.name, text)
    }
  }

  /// A disk of the peer that is not here.
  var missingDisk: (disk: String, text: String)? {
    if let newcomer = receiving.obstacle?.newcomer, let text = missing(newcomer) {
      return (newcomer.name, text)
    }
    let table = diskTable.withLock { $0 }
    let isHere = { (disk: JournalState.Disk) in
      table[disk.number] != nil || table.names.contains(disk.name)
    }
    guard let disk = receiving.receiver?.peerDisks.first(where: { !isHere($0) }) else { return nil }
    return missing(DiskChange(.added, disk)).map { (disk.name, $0) }
  }

  /// The next record verifies and has no place here: remembers it, and says why in words. The
  /// connection ends; others are refused until the disk is larger.
  func stopReceiving(before obstacle: Obstacle) -> String {
    receiving.stopped(before: obstacle)
    return text(obstacle)
  }

  /// Why no connection is of use while a disk is as small as it is.
  func refusalOfSizes(_ hello: LinkHello, _ state: JournalState) -> String? {
    if state.needsBaseline { return refusalOfCopy(from: hello) }
    guard let obstacle = receiving.obstacle, isInTheWay(obstacle),
      hello.lineage.newest?.identifier == obstacle.incarnation,
      obstacle.newcomer != nil
        || hello.disks[obstacle.disk].map({ $0.byteCount >= obstacle.end }) ?? false
    else { return nil }
    return text(obstacle)
  }

  /// Why a full copy cannot be taken.
  func refusalOfCopy(from hello: LinkHello) -> String? {
    refusalOfCopyForBranches ?? refusalOfDisks(ofCopyFrom: hello)
  }

  /// The disks of the peer do not all have their place here.
  func refusalOfDisks(ofCopyFrom hello: LinkHello) -> String? {
    let table = diskTable.withLock { $0 }
    let here = table.names
    if let disk = hello.disks.first(where: { !here.contains($0.name) }) {
      return "a full copy needs disk \(disk.name) of \(ByteCount.format(disk.byteCount)): add disk "
        + "\(disk.name) to group \(hello.groupName) at \(siteName) and reload that site"
    }
    for disk in table.waiting {
      guard let peer = hello.disks[named: disk.name], peer.byteCount > disk.store.byteCount
      else { continue }
      return missing(DiskChange(.added, peer))
    }
    return firstTooSmall(for: hello.disks).map { disk, peer in
      "a full copy needs \(ByteCount.format(peer)) for disk \(disk.name), which has "
        + "\(ByteCount.format(disk.store.byteCount)) at \(siteName): \(remedy)"
    }
  }

  /// A full copy begins: what a disk has behind the end of the peer's is zeros, as what a disk
  /// grows by.
  func clearBehindPeer(_ receiver: any IncomingLink) {
    for disk in disks {
      guard let peer = receiver.peerDisks[named: disk.name],
        peer.byteCount < disk.store.byteCount
      else { continue }
      let piece = BaselinePiece(
        disk: disk.number, range: ByteRange(start: peer.byteCount, end: disk.store.byteCount),
        applied: receiving.applyLimit)
      storeBaseline(piece, nil, from: receiver) {}
    }
  }

  private func firstTooSmall(
    for peer: [JournalState.Disk]
  ) -> (disk: GroupDisk, peer: UInt64)? {
    for disk in disks {
      guard let peer = peer[named: disk.name], disk.store.byteCount < peer.byteCount
      else { continue }
      return (disk, peer.byteCount)
    }
    return nil
  }

  private func isInTheWay(_ obstacle: Obstacle) -> Bool {
    if let newcomer = obstacle.newcomer { return missing(newcomer) != nil }
    let disk = diskTable.withLock { $0[obstacle.disk] }
    return disk.map { $0.store.byteCount < obstacle.end } ?? false
  }

  private func text(_ obstacle: Obstacle) -> String {
    if let text = obstacle.newcomer.flatMap(missing) { return text }
    let disk = disk(obstacle.disk)
    return "record \(obstacle.sequence.rawValue) was written up to byte \(obstacle.end) of disk "
      + "\(disk.name), which has \(ByteCount.format(disk.store.byteCount)) at \(siteName): "
      + remedy
  }

  private var remedy: String { "make it larger at \(siteName) and reload that site" }
}
