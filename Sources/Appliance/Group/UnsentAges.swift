import BlockModel

/// Since when the peer lacks what it lacks, by the monotonic clock: what the RPO is.
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
  mutating func note(appended: SequenceNumber, peerDurable: SequenceNumber, now: UInt64) {
    entries.removeAll { $0.through <= peerDurable }
    if appended > noted, appended > peerDurable {
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

  /// How long the oldest record that the peer lacks has been there; 0 when it lacks none.
  func age(appended: SequenceNumber, peerDurable: SequenceNumber, now: UInt64) -> UInt64 {
    if appended <= peerDurable { return 0 }
    let since = entries.first { $0.through > peerDurable }?.since ?? lastNoted
    return now > since ? now - since : 0
  }
}
