/// Objects in the order in which they came, each once: what a loop keeps of its connections. Ending
/// them goes by that order, not by where they happen to lie in memory, so that a simulated run can
/// be repeated. Removal is linear in their number.
struct Roster<Member: AnyObject> {
  private(set) var members: [Member] = []

  var count: Int { members.count }
  var isEmpty: Bool { members.isEmpty }

  mutating func add(_ member: Member) { members.append(member) }

  /// False when it is not there.
  @discardableResult
  mutating func remove(_ member: Member) -> Bool {
    guard let index = members.firstIndex(where: { $0 === member }) else { return false }
    members.remove(at: index)
    return true
  }

  mutating func removeAll() { members.removeAll() }

  mutating func removeAll(where isGone: (Member) -> Bool) { members.removeAll(where: isGone) }
}
