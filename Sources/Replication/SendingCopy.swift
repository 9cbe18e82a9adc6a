import BlockModel
import Journal
import Storage
import SystemIO

/// The full copy: pieces of the disks, until little is lacking, and records beside what is left.
extension SendingStream {
  /// Starts a full copy, or goes on with the one that the receiver names if that is known here.
  /// Until little is lacking, no records are sent and none are kept for the peer: `CopyDebt` knows
  /// what changes.
  ///
  /// - Parameters:
  ///   - found: what the receiver has of one; `.none`: nothing that counts.
  ///   - seen: what the receiver has, all of which the operator has given up.
  mutating func beginCopy(
    resuming found: JournalState.Copy = .none, discarding seen: JournalState.OwnerMark? = nil,
    _ now: UInt64
  ) {
    let debt = parts.follower.debt
    let isKnown = debt.resume(found)
    let byteCounts = hello.disks.byteCounts
    let number = isKnown ? found.number : debt.begin(byteCounts)
    if isKnown { debt.adjust(to: byteCounts) }
    #if MUTANTS
      if Mutant.joinForeignCopy.isOn, !isKnown, found.stored > 0 {
        for disk in hello.disks {
          debt.take(disk.number.index, ByteRange(start: 0, length: disk.byteCount / 2))
        }
      }
    #endif
    // It brings that, too.
    (lacking, isReconciling) = (nil, false)
    parts.reporter.copyBegins()
    output.put(LinkFrame(.copyBegin, argument: number), LinkMessage.encodeDiscarded(seen))
    compare(debt)
    copy = CopyReading(parts.disks.stores, debt, comparison, parts.watermarks)
    let (total, lacking) = (debt.totalByteCount, debt.lackingByteCount)
    pace = CopyPace(total: total, lacking: lacking, nowNanoseconds: now)
    monitor.update {
      $0.sends(.syncing)
      $0.syncProgress = Self.progress(lacking, of: total)
      $0.isRecoverable = false
    }
    parts.log(
      "group \(parts.hello.groupName): the full copy to \(monitor.peerSite) "
        + (isKnown ? "goes on, \(ByteCount.format(lacking)) are left" : "begins"))
  }

  /// Asks the receiver what it has of what is lacking there.
  private mutating func compare(_ debt: CopyDebt) {
    let blocks = debt.lackingBlocks(of: BlockDigest.blockByteCount)
    comparison = blocks.isEmpty ? nil : CopyComparison(of: blocks)
    var left = blocks.extents.count
    for part in LinkMessage.lackingParts(blocks.extents) {
      left -= part.count
      output.put(LinkFrame(.compare, argument: UInt64(left)), LinkMessage.encodeLacking(part))
    }
  }

  private static func progress(_ lacking: UInt64, of total: UInt64) -> Double {
    total == 0 ? 1 : max(0, 1 - Double(lacking) / Double(total))
  }

  /// The next of the copy. False when there is nothing to send or to read at this moment.
  mutating func goOnCopying(_ now: UInt64) throws(LinkError) -> Bool {
    guard let copy else { return false }
    // What was read is sent before anything is decided: what is confirmed then includes it.
    if let piece = try copy.next() {
      send(piece, copy)
      isRecordsTurn = copy.isEmpty
      return true
    }
    let debt = parts.follower.debt
    let lacking = debt.lackingByteCount
    let alike = debt.alikeByteCount
    monitor.update {
      $0.syncProgress = Self.progress(lacking, of: debt.totalByteCount)
      $0.alikeByteCount = alike
    }
    let step = pace.next(
      lacking: lacking, isConfirmed: debt.isConfirmed,
      isComparing: comparison?.isUnderWay ?? false, nowNanoseconds: now)
    switch step {
    case .send:
      if copy.isAwaiting, !hasHeardDigests {
        look(by: now + Self.pauseNanoseconds)
        return false
      }
      hasHeardDigests = false
      output.ask(copy)
    case .confirm:
      pace.noteConfirming(nowNanoseconds: now)
      output.put(LinkFrame(.baselineConfirm, argument: debt.mark()))
    case .wait:
      look(by: now + Self.pauseNanoseconds)
      return false
    case .follow:
      guard try follow(now) else { return false }
      // The rest of the copy comes between them.
      isRecordsTurn = pace.isFollowing
    case .end:
      self.copy = nil
      endCopy()
    }
    return true
  }

  private mutating func send(_ piece: CopyReading<Store>.Piece, _ copy: CopyReading<Store>) {
    // All that are to come hold so much.
    copiedThrough = piece.applied.rawValue
    let whole = BaselinePiece(disk: piece.disk, range: piece.range, applied: piece.applied)
    switch piece.content {
    case .data: if let bytes = unsafe copy.bytes(of: piece) { unsafe send(piece, bytes) }
    case .zeros: putZeros(whole)
    case .alike:
      output.put(LinkFrame(.baselineAlike), whole.encoded())
      parts.follower.debt.noteAlike(piece.range.length)
    }
    pace.noteSent(piece.range.length)
  }

  private mutating func putZeros(_ piece: BaselinePiece) {
    output.put(LinkFrame(.baselineZeros), piece.encoded())
  }

  /// Sends a piece: what is zeros as such, the rest in LZ4 where that pays.
  private mutating func send(
    _ piece: CopyReading<Store>.Piece, _ bytes: UnsafeRawBufferPointer
  ) {
    // The room for packed ones is used again when all runs were sent.
    var packedByteCount = 0
    var byteCount = 0
    unsafe ZeroRuns.forEach(bytes) { run, isZero in
      let part = BaselinePiece(
        disk: piece.disk,
        range: ByteRange(
          start: piece.range.start + UInt64(run.lowerBound), length: UInt64(run.count)),
        applied: piece.applied)
      if isZero { return putZeros(part) }
      byteCount += unsafe putData(
        part, UnsafeRawBufferPointer(rebasing: bytes[run]), &packedByteCount)
    }
    if byteCount > 0 { measure(byteCount, since: parts.clock()) }
  }

  /// Returns how many bytes that takes.
  private mutating func putData(
    _ piece: BaselinePiece, _ bytes: UnsafeRawBufferPointer, _ packedByteCount: inout Int
  ) -> Int {
    if policy.shouldCompress(), let packed = unsafe compress(bytes, at: packedByteCount) {
      packedByteCount += packed.count
      unsafe output.put(LinkFrame(.compressedBaseline), piece.encoded(), .memory(packed))
      return packed.count
    }
    unsafe output.put(LinkFrame(.baselineData), piece.encoded(), .memory(bytes))
    return bytes.count
  }

  // MARK: Records follow

  /// Records are sent from the segment that holds the first one which the base does not hold yet,
  /// so whatever the rest of the copy misses, they bring. False when they cannot be yet.
  private mutating func follow(_ now: UInt64) throws(LinkError) -> Bool {
    // Before `debt.follow`: what is noted after it is later than this.
    var applied = parts.watermarks[.applied]
    // Where apply went on while the segment was looked at, that one is it all the same: to look at
    // another, and then again at another, might never end.
    if let segment, surveyed == segment.number { applied = min(applied, surveyedAt) }
    var start = applied
    if let first = parts.catalog.segment(holding: applied + 1) {
      // Pinned before it is looked at: what lies in the slot of a recycled one is no damage. If it
      // was recycled in this moment, the next step finds another.
      guard moveTo(first) else {
        look(by: now)
        return false
      }
      guard surveyed == first.number else {
        surveyedAt = applied
        ask(.survey, first)
        return true
      }
      switch beginning(at: first, applied) {
      case .segment: start = first.firstSequence.rawValue - 1
      case .behind: leaveSegment()
      case .notYet:
        leaveSegment()
        look(by: now + Self.pauseNanoseconds)
        return false
      }
    }
    comparison?.end()
    parts.follower.debt.follow()
    awaited = start + 1
    parts.reporter.copyFollows(from: SequenceNumber(start))
    output.put(LinkFrame(.baselineBegin, argument: start))
    // The receiver forgets it with its journal.
    toldDurable = 0
    copiedThrough = applied
    pace.noteFollowing()
    return true
  }

  /// The segment with which records are to begin was looked at.
  mutating func noteSurvey() {
    surveyed = segment?.number ?? 0
    loss = repairs.loss
    damage = repairs.damage
  }

  /// Where the records begin that follow a full copy.
  private enum Beginning {
    case segment
    /// With the next record that comes: the copy has all that is in the segment.
    case behind
    case notYet
  }

  /// No record can be left out of a segment. So where one is lost, the records begin where none of
  /// it is needed any more, and the next one must not come in it.
  private func beginning(at first: Segment<File>, _ applied: UInt64) -> Beginning {
    // It is sealed before the mark is read: what comes then begins another.
    let isSealed = first.isSealed
    guard let loss else { return .segment }
    if isSealed, parts.catalog.newest?.number == first.number,
      parts.watermarks[.appended] == applied
    {
      return .behind
    }
    monitor.askToEnd(first.number)
    noteRepair(
      of: loss,
      "cannot be made again: the full copy goes on once all of that segment is applied")
    return .notYet
  }

  private mutating func endCopy() {
    // The copy holds nothing later than what is appended now: from this record on, the other
    // side's disks can be trusted.
    // The timestamps are read before the sequence, which is stored before them: every record at or
    // before the timestamp is at or before the sequence.
    var body = WireEncoder()
    body.put(max(parts.watermarks[.appendedTimestamp], parts.watermarks[.completeThrough]))
    let sequence = parts.watermarks[.appended]
    output.put(LinkFrame(.baselineEnd, argument: sequence), body.bytes)
    monitor.update { $0.syncProgress = 1 }
    let debt = parts.follower.debt
    let alike = debt.alikeByteCount
    parts.log(
      "group \(parts.hello.groupName): initial sync sent to \(monitor.peerSite)"
        + (alike == 0
          ? ""
          : ", which had \(ByteCount.format(alike)) of \(ByteCount.format(debt.totalByteCount)) "
            + "already"))
  }
}
