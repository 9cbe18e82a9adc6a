import BlockModel
import Journal

/// What one site has of a group: its incarnations, and its last record.
public struct SiteHistory: Equatable, Sendable {
  public var lineage: Lineage
  public var last: JournalState.Mark

  public init(_ lineage: Lineage, last: JournalState.Mark) {
    self.lineage = lineage
    self.last = last
  }

  /// The last record that both have by their lineages; nil when none is known to be.
  public func common(with other: SiteHistory) -> JournalState.Mark? {
    for incarnation in other.lineage.incarnations.reversed() {
      guard let own = lineage.end(of: incarnation.identifier, last: last),
        let theirs = other.lineage.end(of: incarnation.identifier, last: other.last)
      else { continue }
      return own.sequence < theirs.sequence ? own : theirs
    }
    // Each begins with the first record of all: what both have is what was there before it.
    let beginAtOrigin = [self, other].allSatisfy { site in
      site.lineage.incarnations.first.map {
        $0.after.sequence == .none && $0.parent == .none
      } ?? (site.last.sequence == .none)
    }
    return beginAtOrigin ? .origin : nil
  }

  /// The state before the first record, from which both go back to nothing else: what they have in
  /// common when nothing had arrived before one of them took over.
  public func origin(with other: SiteHistory) -> JournalState.Mark? {
    let histories = [self, other].map(\.lineage.incarnations.first)
    return histories.allSatisfy { $0?.after.sequence == SequenceNumber.none } ? .origin : nil
  }
}

/// Two sites have records of a group that the other lacks, and the owner lacks some that were
/// durable: nobody but an operator can say which are to stay.
public struct Divergence: Equatable, Sendable {
  public enum Cause: Equatable, Sendable {
    /// The follower ends in an incarnation of which the owner knows nothing.
    case unknownIncarnation(IncarnationIdentifier)
    /// The owner had made more of an incarnation durable than it has now.
    case durableLost(through: SequenceNumber)
    /// The same incarnation, the same number, another record.
    case otherRecord
  }

  public var cause: Cause
  /// The last record that both have; nil when it is not known.
  public var common: JournalState.Mark?
  public var owner: JournalState.Mark
  public var follower: JournalState.Mark
}

/// What the owner does with a follower that says what it has.
///
/// Nothing is inferred from equal numbers: an incarnation, with its identity, says whose a record
/// is. A follower that ends in an older incarnation than the owner's newest may hold records that
/// the owner lost at a power cut, before they were durable there: nobody was promised them, and
/// they are cut off before the next incarnation is sent. Whatever else the follower has and the
/// owner lacks is left alone.
public enum ResumeDecision: Equatable, Sendable {
  /// What the follower lacks of the disks then.
  public enum Jump: Equatable, Sendable {
    /// What the records have changed that were dropped for it.
    case dropped
    /// Everything, as far as anybody knows.
    case everything
  }

  /// Stream on from the follower's end.
  case resume
  /// The follower must drop what follows this record, then say again what it has.
  case cut(after: SequenceNumber)
  case baseline
  /// Go on behind what the follower cannot have as records any more.
  case jump(Jump)
  case diverged(Divergence)

  /// Both ends ask this: the owner to know what to send, and the follower before it drops anything.
  ///
  /// - Parameters:
  ///   - match: what the owner has in place of the follower's last record.
  ///   - oldest: the first record that is still in the owner's journal; nil when it is empty.
  ///   - dropped: what the owner knows of records that it dropped for the follower.
  public static func decide(
    _ welcome: LinkWelcome, owner: SiteHistory, oldest: SequenceNumber?,
    match: LastRecord.Match = .unknown, dropped: DroppedChanges.Span? = nil
  ) -> ResumeDecision {
    if welcome.needsBaseline { return .baseline }
    switch compare(welcome, owner: owner, match: match) {
    case .same: break
    case .ahead(let end):
      // What is applied cannot be cut off any more.
      return welcome.applied > end ? .jump(.everything) : .cut(after: end)
    case .diverged(let divergence): return .diverged(divergence)
    }
    if welcome.needsCopy { return .jump(.everything) }
    let next = welcome.last.sequence.advanced(by: 1)
    if next > owner.last.sequence { return .resume }
    if let oldest, next >= oldest { return .resume }
    guard let dropped, dropped.after < next, next <= dropped.through,
      oldest.map({ $0 <= dropped.through.advanced(by: 1) }) ?? true
    else { return .jump(.everything) }
    return .jump(.dropped)
  }

  /// Why the follower may not drop what it has because this owner says so; nil when it may.
  ///
  /// - Parameters:
  ///   - welcome: what the follower has.
  ///   - match: what it has in place of the owner's last record.
  ///   - end: the record after which it is to drop everything; nil: all of it, for a full copy.
  public static func objection(
    of welcome: LinkWelcome, to hello: LinkHello, match: LastRecord.Match,
    droppingAfter end: SequenceNumber?
  ) -> Divergence.Cause? {
    if welcome.needsBaseline { return nil }
    switch compare(welcome, owner: SiteHistory(hello.lineage, last: hello.last.mark), match: match)
    {
    case .same: return end.map { $0 < welcome.sequence } ?? false ? .otherRecord : nil
    case .ahead(let allowed): return end.map { $0 < allowed } ?? false ? .otherRecord : nil
    case .diverged(let divergence): return divergence.cause
    }
  }

  /// Whether the follower may give up its place in the order for another: the owner has had all
  /// that is here, or none of what it lacks was durable there, and nothing of that stays on the
  /// disks.
  public static func mayJump(
    to point: JumpPoint, from welcome: LinkWelcome, of hello: LinkHello, match: LastRecord.Match
  ) -> Bool {
    if welcome.needsBaseline { return false }
    let owner = SiteHistory(hello.lineage, last: hello.last.mark)
    switch compare(welcome, owner: owner, match: match) {
    case .same:
      return point.isWhole || !welcome.needsCopy && point.mark.sequence >= welcome.sequence
    case .ahead: return point.isWhole
    case .diverged: return point.isWhole && point.discarding == welcome.seen
    }
  }

  enum Comparison: Equatable {
    /// The owner has, or had and recycled, everything that the follower has.
    case same
    /// It lacks what comes after this record, and had never made that durable.
    case ahead(of: SequenceNumber)
    case diverged(Divergence)
  }

  static func compare(
    _ welcome: LinkWelcome, owner: SiteHistory, match: LastRecord.Match = .unknown
  ) -> Comparison {
    let follower = SiteHistory(welcome.lineage, last: welcome.last.mark)
    func diverged(_ cause: Divergence.Cause) -> Comparison {
      .diverged(
        Divergence(
          cause: cause, common: cause == .otherRecord ? nil : owner.common(with: follower),
          owner: owner.last, follower: follower.last))
    }
    // It has no record: a copy of the disks as they were before the first.
    guard welcome.last.sequence > .none else { return .same }
    guard let incarnation = welcome.lineage.newest?.identifier else {
      return diverged(.unknownIncarnation(.none))
    }
    guard let end = owner.lineage.end(of: incarnation, last: owner.last)?.sequence else {
      return diverged(.unknownIncarnation(incarnation))
    }
    guard welcome.last.sequence > end else {
      return match == .other ? diverged(.otherRecord) : .same
    }
    let known = welcome.ownerDurable
    if known.sequence > .none {
      guard let durableEnd = owner.lineage.end(of: known.incarnation, last: owner.last) else {
        return diverged(.unknownIncarnation(known.incarnation))
      }
      if known.sequence > durableEnd.sequence {
        return diverged(.durableLost(through: known.sequence))
      }
    }
    return .ahead(of: end)
  }
}
