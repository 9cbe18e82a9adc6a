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
  public private(set) var duty: Duty
  /// Number of the ownership: grows with each change of owner. 0 at a group that has never owned,
  /// nor heard of an owner's.
  public private(set) var term: UInt64
  /// What the configuration said when the duty was decided.
  public private(set) var configured: Duty

  public init(duty: Duty, term: UInt64, configured: Duty) {
    precondition(duty != .plain && configured != .plain, "a plain group has no journal to own")
    self.duty = duty
    self.term = term
    self.configured = configured
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

  /// The group's duty changes.
  public mutating func change(to duty: Duty) {
    precondition(duty != .plain && duty != self.duty, "from \(self.duty) to \(duty)")
    self.duty = duty
    if duty == .owning { term += 1 }
  }
}
