import BlockModel

/// Instants of a group that a site has shown, or told as its newest one. Each can be opened again
/// for ever, and shows the same, until its history leaves by the stated rules.
struct SeenInstants {
  struct Instant {
    let instant: Timestamp
    /// The last record that it showed; nil: none.
    let last: Record?
    let wasOpened: Bool
    /// Of the recovery site: when its order has gone back on purpose since, nothing is asked.
    var resetCount: Int
    /// Until it has heard of the new owner, a former one may refuse what comes after its records.
    var isOwed = true
  }

  private static let limit = 100
  private var entries: [Role: [Instant]] = [:]

  mutating func note(_ role: Role, _ instant: Instant) {
    entries[role, default: []].append(instant)
    if entries[role, default: []].count > Self.limit { entries[role]?.removeFirst() }
  }

  /// Owner and follower have changed places.
  ///
  /// - Parameter newOwnerIsBehind: by its clock: it may still stamp records that the former one's
  ///   instants do not show.
  mutating func exchange(followerResets: Int, newOwnerIsBehind: Bool) {
    let former = newOwnerIsBehind ? [] : all(.protected, resetCount: 0)
    let next = all(.recovery(0), resetCount: followerResets)
    entries[.recovery(0)] = former.map { instant in
      var moved = instant
      (moved.resetCount, moved.isOwed) = (followerResets, false)
      return moved
    }
    entries[.protected] = next.map { instant in
      var moved = instant
      (moved.resetCount, moved.isOwed) = (0, instant.isOwed)
      return moved
    }
  }

  mutating func allAreOwed() {
    for role in entries.keys {
      for index in entries[role, default: []].indices { entries[role]?[index].isOwed = true }
    }
  }

  func all(_ role: Role, resetCount: Int) -> [Instant] {
    (entries[role] ?? []).filter { $0.resetCount == resetCount }
  }
}
