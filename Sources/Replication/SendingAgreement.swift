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
      if rounds > 0 { return try beginCopy(now) }
      try goBack(welcome, after: welcome.sequence, rounds, now)
    case .resume: try begin(try stream.resume(welcome), now)
    case .baseline: try beginCopy(now)
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
        return try beginCopy(discarding: welcome.seen, now)
      }
      try goBack(welcome, after: common, discarding: welcome.seen, rounds, now)
    }
  }

  private func decision(on compared: WelcomeComparison) -> ResumeDecision {
    ResumeDecision.decide(
      compared.welcome, owner: SiteHistory(parts.hello.lineage, last: compared.last.mark),
      oldest: parts.catalog.oldest?.firstSequence, match: compared.match,
      isDetached: parts.follower.isGivenUp)
  }

  mutating func begin(
    _ resumption: SendingStream<Store>.Resumption, _ now: UInt64
  ) throws(LinkError) {
    switch resumption {
    case .begun: try begun(now)
    case .impossible: try beginCopy(now)
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
