import BlockModel

/// Since when a follower lacks what it lacks, by the monotonic clock: what the RPO is.
struct UnsentAges {
  /// Records up to `through` were appended after `since`.
  private struct Entry {
    let through: SequenceNumber
    let since: UInt64
  }

  private static let entryLimit = 512
  private var entries: [Entry] = []
  private var noted = SequenceNumber.none
  private var lastNoted: UInt64

  init(now: UInt64) { lastNoted = now }

  /// Several times a second.
  mutating func note(appended: SequenceNumber, durable: SequenceNumber, now: UInt64) {
    entries.removeAll { $0.through <= durable }
    if appended > noted, appended > durable {
      entries.append(Entry(through: appended, since: lastNoted))
      if entries.count > Self.entryLimit { halve() }
    }
    noted = appended
    lastNoted = now
  }

  /// Two that follow each other become one: what is long ago need not be known so exactly.
  private mutating func halve() {
    entries = stride(from: 0, to: entries.count, by: 2).map { index in
      Entry(
        through: entries[min(index + 1, entries.count - 1)].through, since: entries[index].since)
    }
  }

  /// How long the oldest record that the follower lacks has been there; 0 when it lacks none.
  func age(appended: SequenceNumber, durable: SequenceNumber, now: UInt64) -> UInt64 {
    if appended <= durable { return 0 }
    let since = entries.first { $0.through > durable }?.since ?? lastNoted
    return now > since ? now - since : 0
  }
}
