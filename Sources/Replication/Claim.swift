import BlockModel
import Journal
import SystemIO

/// What a site says of its ownership of a group: in its greeting, and to one who greets it as owner
/// though this one's is the higher term.
public struct Claim: Equatable, Sendable {
  /// Number of the ownership.
  public var term: UInt64
  /// It was taken from another site (`tapline failover`): that one gives way. One that follows from
  /// a configuration says nothing about others.
  public var isTaken: Bool
  /// It may still be given back.
  public var isPending: Bool

  public init(term: UInt64, isTaken: Bool = false, isPending: Bool = false) {
    self.term = term
    self.isTaken = isTaken
    self.isPending = isPending
  }

  /// Of a state file.
  public init(_ state: JournalState) {
    self.init(
      term: state.ownership.term, isTaken: state.ownership.isTaken, isPending: state.fork != nil)
  }

  /// An owner by this claim stops where it meets one by that.
  public func givesWay(to other: Claim) -> Bool { other.isTaken && other.term > term }

  /// Both were taken, from the same owner, by sites that did not know of each other.
  public func ties(with other: Claim) -> Bool { isTaken && other.isTaken && other.term == term }
}

/// The owner in whose favour a site has to give way, and what it has.
public struct Rival: Equatable, Sendable {
  public var site: String
  public var claim: Claim
  public var history: SiteHistory

  public init(site: String, claim: Claim, history: SiteHistory) {
    self.site = site
    self.claim = claim
    self.history = history
  }

  /// The last record that it has in common with this site; nil when none is known.
  public func common(with own: SiteHistory) -> JournalState.Mark? {
    #if MUTANTS
      if Mutant.followFromLast.isOn { return own.last }
    #endif
    return history.common(with: own) ?? history.origin(with: own)
  }

  /// In which its order goes on behind a record. One of an ownership that is not later than another
  /// one's need not keep what that one has promised: the group was taken back, or by two at once,
  /// or the owner lost records in a power cut.
  public func incarnation(after common: JournalState.Mark) -> Incarnation? {
    history.last.sequence > common.sequence
      ? history.lineage.holder(of: common.sequence.advanced(by: 1)) : history.lineage.newest
  }

  public var fence: Fence { Fence(term: claim.term, site: site, isPending: claim.isPending) }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(site)
    encoder.put(claim)
    encoder.put(history.lineage)
    encoder.put(history.last.sequence.rawValue)
    encoder.put(history.last.timestamp.rawValue)
    return encoder.bytes
  }

  public init(decoding bytes: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(bytes)
    do throws(WireDecoder.Failure) {
      site = try decoder.takeString()
      claim = try decoder.takeClaim()
      history = SiteHistory(
        try decoder.takeLineage(),
        last: .init(SequenceNumber(try decoder.take()), Timestamp(rawValue: try decoder.take())))
    } catch { throw .protocolViolation("what the owner says of itself is malformed") }
  }
}

extension WireEncoder {
  /// 9 bytes.
  mutating func put(_ claim: Claim) {
    put(claim.term)
    put(UInt8((claim.isTaken ? 1 : 0) | (claim.isPending ? 2 : 0)))
  }
}

extension WireDecoder {
  mutating func takeClaim() throws(Failure) -> Claim {
    let (term, flags) = (try take(UInt64.self), try take(UInt8.self))
    // There is always a next one.
    guard term < Ownership.termLimit else { throw .tooShort }
    return Claim(term: term, isTaken: flags & 1 != 0, isPending: flags & 2 != 0)
  }
}
