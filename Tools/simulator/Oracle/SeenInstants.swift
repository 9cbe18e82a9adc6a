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
    let resetCount: Int
  }

  private static let limit = 100
  private var entries: [Role: [Instant]] = [:]

  mutating func note(_ role: Role, _ instant: Instant) {
    entries[role, default: []].append(instant)
    if entries[role, default: []].count > Self.limit { entries[role]?.removeFirst() }
  }

  func all(_ role: Role, resetCount: Int) -> [Instant] {
    (entries[role] ?? []).filter { $0.resetCount == resetCount }
  }
}
