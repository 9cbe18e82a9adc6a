import Testing

@testable import Journal

/// A group's duty is its own: the configuration says what a new one begins as, and a change of it
/// is an order.
@Suite struct OwnershipTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let before: Ownership
    let order: Duty
    let after: Ownership

    init(_ name: String, _ before: Ownership, told order: Duty, _ after: Ownership) {
      testDescription = name
      self.before = before
      self.order = order
      self.after = after
    }
  }

  private static func known(_ duty: Duty, _ term: UInt64, configured: Duty) -> Ownership {
    Ownership(duty: duty, term: term, configured: configured)
  }

  static let cases: [Case] = [
    Case(
      "a new owner", Ownership(beginning: .owning), told: .owning,
      known(.owning, 1, configured: .owning)),
    Case(
      "a new follower", Ownership(beginning: .following), told: .following,
      known(.following, 0, configured: .following)),
    Case(
      "a follower that is to own", known(.following, 4, configured: .following), told: .owning,
      known(.owning, 5, configured: .owning)),
    Case(
      "an owner that is to follow", known(.owning, 5, configured: .owning), told: .following,
      known(.following, 5, configured: .following)),
    Case(
      "one that owns against its configuration", known(.owning, 5, configured: .following),
      told: .following, known(.owning, 5, configured: .following)),
    Case(
      "the same, with the configuration set right", known(.owning, 5, configured: .following),
      told: .owning, known(.owning, 5, configured: .owning)),
  ]

  @Test(arguments: cases)
  func `only a change of the configuration is an order`(given: Case) {
    var ownership = given.before
    ownership.obey(given.order)
    #expect(ownership == given.after)
    ownership.obey(given.order)
    #expect(ownership == given.after)
  }

  @Test func `each owner has a term of its own`() {
    var ownership = Ownership(beginning: .owning)
    ownership.change(to: .following)
    ownership.change(to: .owning)
    #expect(ownership.term == 2 && !ownership.isTaken)
  }

  @Test func `an ownership is taken with a term that nobody here has heard of`() {
    var ownership = Ownership(beginning: .following)
    ownership.hear(of: 4)
    #expect(ownership.term == 4 && ownership.nextTerm(after: Lineage()) == 5)
    let before = ownership
    ownership.change(to: .owning, isTaken: true)
    #expect(ownership.term == 5 && ownership.isTaken)
    // What was taken back is not given again.
    ownership.takeBack(before)
    #expect(ownership.duty == .following && ownership.term == 4 && !ownership.isTaken)
    ownership.change(to: .owning, isTaken: true)
    #expect(ownership.term == 6)
    // An owner that hears of another stays what it is.
    ownership.hear(of: 9, isTaken: true)
    #expect(ownership.term == 6 && ownership.highestTerm == 9)
    // Should it go on all the same, that one gives way.
    ownership.renew()
    #expect(ownership.term == 10 && ownership.duty == .owning && ownership.isTaken)
  }
}
