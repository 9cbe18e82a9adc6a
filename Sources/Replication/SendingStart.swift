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
    /// What comes next must be made again first: `resumed` tells.
    case repairing
  }

  mutating func resume(_ welcome: LinkWelcome) throws(LinkError) -> Resumption {
    parts.reporter.goesOn(after: welcome.sequence)
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
    return try checkNext(welcome.sequence.advanced(by: 1))
  }

  /// Looks at the first record to be sent: where a record is damaged, the link breaks at it, and
  /// begins again with it.
  private mutating func checkNext(_ sequence: SequenceNumber) throws(LinkError) -> Resumption {
    guard let segment else { return begun() }
    let position = max(offset, SegmentHeader.byteCount)
    damage = try repairs.repair.firstDamage(in: segment, from: position, sequence, limit: 1)
    guard let damage else { return begun() }
    try checkIsApplied(damage)
    ask(.restore(damage), segment)
    return .repairing
  }

  /// The damaged record with which the link would begin was looked at.
  mutating func resumed() throws(LinkError) -> Resumption {
    try repairs.check()
    if repairs.restoredByteCount != nil { return begun() }
    if let damage {
      noteRepair(of: damage, "is not on the disk any more as it was: a full copy follows")
    }
    return .impossible
  }

  private mutating func begun() -> Resumption {
    output.put(LinkFrame(.begin))
    monitor.update {
      $0.sends(.connected)
      $0.isRecoverable = true
    }
    return .begun
  }

  /// The disks hold only what is applied.
  func checkIsApplied(_ damage: DamagedRecord) throws(LinkError) {
    if damage.sequence <= parts.watermarks.sequence(.applied) { return }
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
