import BlockModel
import Journal
import Storage
import SystemIO

/// Where records begin, after what the peer has.
extension SendingStream {
  enum Resumption {
    case begun
    /// The journal does not reach back to what the receiver needs next, or has damage there that
    /// only a full copy repairs.
    case impossible
    /// The record that comes next is looked at first: `resumed` tells.
    case checking
  }

  mutating func resume(_ welcome: LinkWelcome) throws(LinkError) -> Resumption {
    parts.reporter.goesOn(after: welcome.sequence)
    lacking = welcome.lacksAfter.map { (DiskExtents(), $0) }
    isReconciling = lacking != nil
    if welcome.position.segment == 0 {
      awaited = welcome.sequence.rawValue + 1
      guard moveToAwaited() != .missing else { return .impossible }
    } else if let found = parts.catalog.pinned(welcome.position.segment) {
      segment = found
      offset = Int(welcome.position.offset)
      #if MUTANTS
        if Mutant.dropOnReconnect.isOn { offset = found.end }
      #endif
      guard offset >= SegmentHeader.byteCount, offset <= found.end else {
        throw .protocolViolation(
          "the peer asks for position \(offset) of segment \(found.number), which ends at "
            + "\(found.end)")
      }
    } else if let next = parts.catalog.segment(holding: welcome.sequence.rawValue + 1),
      next.firstSequence.rawValue == welcome.sequence.rawValue + 1
    {
      // It has all of a segment that is recycled here, and goes on with the next.
      guard moveTo(next) else { return .impossible }
    } else {
      return .impossible
    }
    guard let segment else { return begun() }
    // Where a record is damaged, the link breaks at it, and begins again with it.
    let position = max(offset, SegmentHeader.byteCount)
    let applied = parts.watermarks.sequence(.applied)
    ask(.check(position: position, welcome.sequence.advanced(by: 1), applied: applied), segment)
    return .checking
  }

  /// The record with which the link begins was looked at.
  mutating func resumed() throws(LinkError) -> Resumption {
    try repairs.check()
    damage = repairs.damage
    guard let damage, case .check(_, _, let applied) = repairs.task else { return begun() }
    try checkIsApplied(damage, by: applied)
    if repairs.restoredByteCount != nil { return begun() }
    noteRepair(of: damage, "is not on the disk any more as it was: the peer goes on behind it")
    return .impossible
  }

  private mutating func begun() -> Resumption {
    output.put(LinkFrame(.begin))
    let isReconciling = isReconciling
    monitor.update {
      $0.sends(isReconciling ? .syncing : .connected)
      $0.isRecoverable = !isReconciling
    }
    return .begun
  }

  /// The disks hold only what is applied.
  func checkIsApplied(
    _ damage: DamagedRecord, by applied: SequenceNumber
  ) throws(LinkError) {
    if damage.sequence <= applied { return }
    throw .local(
      "\(damage) is damaged, and is not applied to the disk: nothing after it "
        + "can be sent until it is")
  }

  func noteRepair(of damage: DamagedRecord, _ outcome: String) {
    let text = "\(damage) is damaged and \(outcome)"
    if monitor.snapshot.repair == text { return }
    monitor.update { $0.repair = text }
    parts.log("group \(parts.hello.groupName): \(text)")
  }
}
