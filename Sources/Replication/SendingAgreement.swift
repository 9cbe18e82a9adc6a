import BlockModel
import Journal
import Storage
import SystemIO

/// Finding out what the receiver has, and where to begin.
extension SendingLink {
  private static var partingNanoseconds: UInt64 { 5_000_000_000 }

  mutating func agree(
    _ welcome: LinkWelcome, _ rounds: Int, _ now: UInt64
  ) throws(LinkError) {
    // What it has counts under the name of the peer that is meant.
    guard welcome.site == monitor.peerSite else {
      throw .refused(
        "site \(welcome.site.quotedForMessage) answers there, not \(monitor.peerSite): correct "
          + "the 'address' of that peer")
    }
    monitor.update { $0.peerDisks = welcome.disks }
    if welcome.needsBaseline { return try beginCopy(resuming: welcome.copy, now) }
    // Should one have been under way, its end was only not heard of.
    parts.follower.debt.end()
    let comparison = WelcomeComparison(welcome, parts.catalog, parts.watermarks)
    phase = .comparing(comparison, rounds: rounds)
    self.welcome = welcome
    stream.output.ask(comparison)
    putOut(now)
  }

  /// What the receiver has was compared with what is here.
  mutating func decide(
    _ compared: WelcomeComparison, _ rounds: Int, _ now: UInt64
  ) throws(LinkError) {
    let welcome = compared.welcome
    switch decision(on: compared) {
    case .resume where isForked(welcome):
      // It has records in the segment and keeps them: damage has cost this site its own segment of
      // that number, whose records are applied.
      if rounds > 0 { return try jump(.everything, now) }
      try goBack(welcome, after: welcome.sequence, rounds, now)
    case .resume: try begin(try stream.resume(welcome), now)
    case .baseline: try beginCopy(now)
    case .jump(let jump): try self.jump(jump, now)
    case .cut(let after):
      #if MUTANTS
        if Mutant.ignoreFork.isOn {
          let resumption = try stream.resume(welcome)
          if case .begun = resumption { return try begin(resumption, now) }
        }
      #endif
      try goBack(welcome, after: after, rounds, now)
    case .diverged(let divergence):
      #if MUTANTS
        if Mutant.eraseMore.isOn { return try beginCopy(now) }
      #endif
      guard monitor.mayDiscard(welcome.seen) else { return part(divergence, welcome, now) }
      parts.log(
        "group \(parts.hello.groupName): what \(monitor.peerSite) has more is given up, as the "
          + "operator has decided: record \(welcome.sequence.rawValue) was its last")
      guard let common = divergence.common?.sequence, welcome.applied <= common else {
        return try jump(.everything, discarding: welcome.seen, now)
      }
      try goBack(welcome, after: common, discarding: welcome.seen, rounds, now)
    }
  }

  private func decision(on compared: WelcomeComparison) -> ResumeDecision {
    if compared.welcome.lacksAfter != nil, monitor.lack.isGivenUp { return .jump(.everything) }
    let first = presentDecision(on: compared)
    guard parts.follower.isGivenUp, first == .resume || first == .jump(.dropped) else {
      return first
    }
    // Looked at again: until it was kept, some of it may have been dropped.
    parts.reporter.isKeptAgain(after: compared.welcome.sequence)
    return presentDecision(on: compared)
  }

  private func presentDecision(on compared: WelcomeComparison) -> ResumeDecision {
    // What was dropped is known before it is: the other way round a gap could be seen.
    let oldest = parts.catalog.oldest?.firstSequence
    return ResumeDecision.decide(
      compared.welcome, owner: SiteHistory(parts.hello.lineage, last: compared.last.mark),
      oldest: oldest, match: compared.match, dropped: parts.follower.dropped.changes?.span)
  }

  /// The peer goes on behind what it cannot have as records. It ends the connection, and comes back
  /// there.
  private mutating func jump(
    _ jump: ResumeDecision.Jump, discarding seen: JournalState.OwnerMark? = nil, _ now: UInt64
  ) throws(LinkError) {
    guard let welcome, let point = try point(of: jump, for: welcome, discarding: seen) else {
      return try beginCopy(discarding: seen, now)
    }
    // Whatever keeps it from that, this site owns the group.
    monitor.follows()
    parts.reporter.jumps(behind: point.mark.sequence)
    monitor.lack.startsOver()
    monitor.update { $0.isRecoverable = false }
    parts.log(
      "group \(parts.hello.groupName): \(monitor.peerSite) has records up to "
        + "\(welcome.sequence.rawValue), and goes on behind \(point.mark.sequence.rawValue); it "
        + "lacks what \(ByteCount.format(point.extents.byteCount)) of the disks hold"
        + (point.isWhole ? "" : ", which the records between have changed"))
    for part in LinkMessage.lackingParts(point.extents.extents) {
      stream.output.put(LinkFrame(.owed), LinkMessage.encodeLacking(part))
    }
    stream.output.put(
      LinkFrame(.jump, argument: point.mark.sequence.rawValue), LinkMessage.encodeJump(point))
    awaitWelcome(rounds: 1, now)
    putOut(now)
  }

  /// Nil: only a full copy helps, which is made in place.
  private func point(
    of jump: ResumeDecision.Jump, for welcome: LinkWelcome,
    discarding seen: JournalState.OwnerMark?
  ) throws(LinkError) -> JumpPoint? {
    let hello = stream.hello
    if jump == .dropped, let dropped = parts.follower.dropped.changes {
      return JumpPoint(
        behind: dropped.through, hello.lineage.holding(through: dropped.through.sequence),
        disks: hello.disks, nextDisk: hello.nextDisk, after: dropped.after,
        lacking: dropped.extents(of: hello.disks))
    }
    // Nobody but a copy makes zeros of what lies behind the end of a disk here.
    let isLarger = welcome.disks.contains { disk in
      hello.disks[named: disk.name].map { $0.byteCount < disk.byteCount } ?? false
    }
    guard !welcome.needsBaseline, !isLarger, let mark = try lastBeforeSegment() else { return nil }
    return JumpPoint(
      behind: mark, hello.lineage.holding(through: mark.sequence),
      disks: hello.disks, nextDisk: hello.nextDisk, after: .none,
      lacking: DiskExtents(whole: hello.disks),
      discarding: seen)
  }

  /// A durable record behind which a segment begins that can be sent, as far as is known.
  private func lastBeforeSegment() throws(LinkError) -> JournalState.Mark? {
    let durable = parts.watermarks.sequence(.durable)
    guard let damaged = stream.damage.flatMap({ parts.catalog.segment($0.segment) }) else {
      let segment = parts.catalog.segment(holding: max(1, durable.rawValue))
      if let mark = (segment ?? parts.catalog.oldest)?.markBefore { return mark }
      // It has gone back to what is on its disks, and stamped nothing since.
      guard durable > .none, parts.watermarks.sequence(.appended) == durable else { return nil }
      return .init(durable, Timestamp(rawValue: parts.watermarks[.durableTimestamp]))
    }
    if let next = parts.catalog.segment(damaged.number + 1) {
      if next.markBefore.sequence <= durable { return next.markBefore }
    } else if damaged.isSealed, parts.watermarks.sequence(.appended) == durable {
      return .init(durable, Timestamp(rawValue: parts.watermarks[.durableTimestamp]))
    } else {
      monitor.askToEnd(damaged.number)
    }
    throw .local("the peer goes on once segment \(damaged.number) has ended, which is damaged")
  }

  mutating func begin(
    _ resumption: SendingStream<Store>.Resumption, _ now: UInt64
  ) throws(LinkError) {
    switch resumption {
    case .begun: try begun(now)
    case .impossible: try jump(.everything, now)
    case .checking:
      phase = .checking
      putOut(now)
    }
  }

  private mutating func beginCopy(
    resuming found: JournalState.Copy = .none, discarding seen: JournalState.OwnerMark? = nil,
    _ now: UInt64
  ) throws(LinkError) {
    stream.leaveSegment()
    stream.beginCopy(resuming: found, discarding: seen, now)
    try begun(now)
  }

  private mutating func begun(_ now: UInt64) throws(LinkError) {
    phase = .streaming
    monitor.agreed()
    monitor.update { $0.vitals.began(now: now) }
    if monitor.snapshot.state != .refused { stream.noteLinked() }
    putOut(now)
    try goOn(now)
  }

  /// Both sites stop here until an operator decides.
  private mutating func part(
    _ divergence: Divergence, _ welcome: LinkWelcome, _ now: UInt64
  ) {
    let text = divergence.text(
      of: parts.hello.groupName, owner: parts.hello.site, follower: monitor.peerSite)
    monitor.update { $0.divergence = (welcome.seen, text) }
    phase = .parting(text)
    phaseEnd = now + Self.partingNanoseconds
    stream.output.put(LinkFrame(.diverged), Array(text.utf8))
    putOut(now)
  }

  /// The receiver has begun a segment, without a record yet, that was lost here with its header:
  /// another incarnation has, or will have, a segment of that number.
  private func isForked(_ welcome: LinkWelcome) -> Bool {
    let number = welcome.position.segment
    #if MUTANTS
      if Mutant.resumeStaleSegment.isOn { return false }
    #endif
    if number == 0 { return false }
    if let own = parts.catalog.segment(number) {
      return own.header.incarnation.identifier != welcome.segmentIncarnation
    }
    return parts.catalog.newest.map { number > $0.number } ?? false
  }

  private mutating func goBack(
    _ welcome: LinkWelcome, after sequence: SequenceNumber,
    discarding seen: JournalState.OwnerMark? = nil, _ rounds: Int, _ now: UInt64
  ) throws(LinkError) {
    // Once a connection: a cut is followed by one more welcome.
    guard rounds == 0 else { throw .protocolViolation("the peer did not go back as asked") }
    parts.log(
      "group \(parts.hello.groupName): \(monitor.peerSite) has records up to "
        + "\(welcome.sequence.rawValue) or a segment that were lost here; it goes back to "
        + "\(sequence.rawValue)")
    awaitWelcome(rounds: 1, now)
    stream.output.put(
      LinkFrame(.cut, argument: sequence.rawValue), LinkMessage.encodeDiscarded(seen))
    putOut(now)
  }
}

extension Segment {
  /// The last record before its first one, which is not later than that.
  fileprivate var markBefore: JournalState.Mark {
    let last = SequenceNumber(firstSequence.rawValue - 1)
    let time = last == .none ? 0 : max(2, header.firstTimestamp.rawValue) - 1
    return .init(last, Timestamp(rawValue: time))
  }
}
