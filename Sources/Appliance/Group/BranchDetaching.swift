import BlockModel
import Journal
import SystemIO
import Volume

/// A branch that is built on records behind the disks goes on apart from the group's order: what
/// these records make of the disks is saved for it, as apply saves what it writes over. The branch
/// shows the same before and after, and wherever a crash ends this. Of a group that is closed.
extension OwnershipExchange {
  /// Throws where the branch's limit has no room for that, with all as it was. Durable when it
  /// returns. Blocks: reads the records.
  func detach(
    _ record: BranchRecord, from recovered: JournalRecovery<FolderStorage>
  ) throws(SiteError) {
    guard state.applyTarget == state.applied else {
      throw SiteError(
        "group \(configuration.name): a step of apply has begun, and has yet to come to its end")
    }
    var parted = record
    parted.isApart = true
    if record.kind == .parked { parted.byteLimit = max(record.byteLimit, wholeLimit) }
    let folder = Branch.folder(record.name, ofGroupIn: folder)
    do {
      let needed = try byteCount(for: record, recovered)
      guard needed <= parted.byteLimit else {
        throw SiteError(
          "\(record.title) is built on records that are to be parked, and what they changed, "
            + "\(ByteCount.format(needed)), is more than its limit: end it "
            + "(`tapline test stop \(record.name)`)")
      }
      // Nothing was overwritten for which something could be saved: what is there is of an attempt.
      // The branch is in use: it has one that is whole at any time.
      let next = Branch.savedName + ".next"
      try SiteOverlay.createLasting(
        next, in: FolderStorage(existing: folder), identity: record.identityBytes)
      try Directory.rename("\(folder)/\(next)", to: "\(folder)/\(Branch.savedName)")
      try Directory.sync(folder)
      let saved = try Branch(parted, folder: folder).saved
      #if MUTANTS
        if Mutant.detachBare.isOn { return try parted.write(to: folder) }
      #endif
      try unsafe forEachChange(of: record, recovered) { disk, range, bytes throws(VolumeError) in
        if let bytes = unsafe bytes {
          try unsafe saved.store(bytes, disk: disk, at: range.start)
        } else {
          try saved.storeZeros(disk: disk, range)
        }
      }
      try saved.settle()
      try parted.write(to: folder)
    } catch let error as SiteError {
      throw error
    } catch {
      throw Self.error(configuration.name, "saving what \(record.title) is built on", error)
    }
  }

  /// What saving it takes at most.
  private func byteCount(
    for record: BranchRecord, _ recovered: JournalRecovery<FolderStorage>
  ) throws -> UInt64 {
    var sum: UInt64 = 0
    try unsafe forEachChange(of: record, recovered) { _, range, bytes in
      sum += unsafe max(bytes == nil ? 0 : range.length, SiteOverlay.leastCharge)
    }
    return sum
  }

  private typealias Change =
    (DiskNumber, ByteRange, UnsafeRawBufferPointer?) throws(VolumeError) -> Void

  /// In the order of the records on which it is built and which are not on the disks; no bytes:
  /// they are zeros.
  private func forEachChange(
    of record: BranchRecord, _ recovered: JournalRecovery<FolderStorage>, _ body: Change
  ) throws {
    let numbers = Set(record.disks.map(\.number))
    for segment in recovered.segments {
      var failure: VolumeError?
      try segment.forEachRecord { found in
        let header = found.header
        if header.timestamp > record.base { return false }
        guard found.sequence > state.applied.sequence, !header.kind.isMarker,
          numbers.contains(header.disk)
        else { return true }
        do throws(VolumeError) {
          try unsafe body(
            header.disk, header.range, header.kind == .write ? found.payload : nil)
        } catch { failure = error }
        return failure == nil
      }
      if let failure { throw failure }
    }
  }
}
