import SystemIO

/// What a group does at this site, here and now: the one thing that code asks which differs by it.
public enum Duty: UInt8, Hashable, Sendable {
  /// Serves its disks without a journal.
  case plain = 0
  /// Stamps what clients write: gives the records their order.
  case owning = 1
  /// Takes the records of the owner.
  case following = 2
}

/// Who gives the order, as this site knows it. In the state file: it outlives processes, and is no
/// line of the configuration, which only says what a new group begins as.
public struct Ownership: Hashable, Sendable {
  /// No site believes another one that it has a term like this.
  public static let termLimit: UInt64 = 1 << 48

  public private(set) var duty: Duty
  /// Number of the ownership: grows with each change of owner. 0 at a group that has never owned,
  /// nor heard of an owner's.
  public private(set) var term: UInt64
  /// What the configuration said when the duty was decided.
  public private(set) var configured: Duty
  /// The highest term that this site has had or heard of: the next one is higher, so that none is
  /// ever given to two ownerships here, also when one of them was taken back.
  public private(set) var highestTerm: UInt64
  /// It, or the one that this site follows, was taken from another site, which gives way when it
  /// hears of it.
  public private(set) var isTaken: Bool

  public init(
    duty: Duty, term: UInt64, configured: Duty, highestTerm: UInt64 = 0, isTaken: Bool = false
  ) {
    precondition(duty != .plain && configured != .plain, "a plain group has no journal to own")
    self.duty = duty
    self.term = term
    self.configured = configured
    self.highestTerm = max(highestTerm, term)
    self.isTaken = isTaken
  }

  /// Of a new group, which begins as it is configured.
  public init(beginning duty: Duty) {
    self.init(duty: duty, term: duty == .owning ? 1 : 0, configured: duty)
  }

  /// At an opening. A configuration that says something else than before is the administrator's
  /// order; one that says the same says nothing, whatever the duty has become meanwhile.
  public mutating func obey(_ configured: Duty) {
    if configured == self.configured { return }
    self.configured = configured
    if configured != duty { change(to: configured) }
  }

  /// The number of the ownership that this site would begin.
  ///
  /// - Parameter lineage: of which it has records.
  public func nextTerm(after lineage: Lineage) -> UInt64 {
    max(highestTerm, lineage.newest?.term ?? 0) + 1
  }

  /// The group's duty changes.
  ///
  /// - Parameter isTaken: from another site, which may own it still.
  public mutating func change(to duty: Duty, isTaken: Bool = false) {
    precondition(duty != .plain && duty != self.duty, "from \(self.duty) to \(duty)")
    self.duty = duty
    self.isTaken = isTaken
    guard duty == .owning else { return }
    #if MUTANTS
      if Mutant.keepTerm.isOn, isTaken { return }
    #endif
    highestTerm += 1
    term = highestTerm
  }

  /// Another site owns the group, by this term.
  public mutating func hear(of term: UInt64, isTaken: Bool = false) {
    if duty == .following, term > self.term {
      self.term = term
      self.isTaken = isTaken
    }
    highestTerm = max(highestTerm, term)
  }

  /// This owner goes on, whoever else has taken the group over: that site gives way.
  public mutating func renew() {
    precondition(duty == .owning, "nobody goes on owning who is \(duty)")
    highestTerm += 1
    term = highestTerm
    isTaken = true
  }

  /// An ownership is taken back: what it took the place of is what counts. Its term stays used.
  public mutating func takeBack(_ former: Ownership) {
    let highest = highestTerm
    self = former
    highestTerm = max(highestTerm, highest)
  }
}
