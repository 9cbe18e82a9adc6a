import BlockModel
import SystemIO

/// All who follow a group's journal, and what the journal must keep for them. Who they are does not
/// change while the group is open. Any thread.
public final class Followers: Sendable {
  public let all: [Follower]
  /// What wakes those that wait for records.
  public let signal: AppendSignal

  /// - Parameter known: how far they were when the group was open last.
  public init(
    _ list: [(site: String, whenFull: Follower.WhenFull)],
    known: [JournalState.FollowerMark] = []
  ) {
    let signal = AppendSignal(count: list.count)
    self.signal = signal
    all = list.enumerated().map { index, item in
      let mark = known.first { $0.site == item.site }
      return Follower(
        site: item.site, whenFull: item.whenFull, known: mark, index: index, signal: signal)
    }
  }

  /// Nobody.
  public init() {
    all = []
    signal = AppendSignal()
  }

  /// The journal keeps what comes after this record, which all that count have durably; nil when
  /// nothing is kept for anybody.
  public var mark: SequenceNumber? { marks.mark }

  /// How far they are, for the state file.
  public var marks: [JournalState.FollowerMark] {
    all.map { .init(site: $0.site, durable: $0.durable, isKept: !$0.isDetached) }
  }

  /// Whether the state file says of each, and of no other, if what it lacks is kept.
  public func areNoted(in known: [JournalState.FollowerMark]) -> Bool {
    known.count == all.count
      && all.allSatisfy { follower in
        known.first { $0.site == follower.site }?.isKept == !follower.isDetached
      }
  }

  /// The bases were written where `map` has extents; as `CopyDebt.note`.
  public func note(_ disk: DiskNumber, _ map: SealedExtentMap) {
    for follower in all { follower.debt.note(disk, map) }
  }

  /// The one for which the journal keeps most of what is applied; nil when it keeps nothing that it
  /// does not need itself.
  public func furthestBehind(_ applied: SequenceNumber) -> Follower? {
    let behind = all.filter { !$0.isDetached && $0.durable < applied }
    return behind.min { $0.durable < $1.durable }
  }

  /// Which follower a full journal drops first. Nil when none may be dropped, or dropping those
  /// that may would free nothing, because the oldest segment is not applied yet, or another, for
  /// which writes wait, holds it too: the journal has room in whole segments.
  ///
  /// - Parameter last: the last record of the oldest segment, if another follows it.
  public func firstToDrop(
    _ applied: SequenceNumber, oldestSegmentEndsWith last: SequenceNumber
  ) -> Follower? {
    guard last <= applied else { return nil }
    let holders = all.filter { !$0.isDetached && $0.durable < last }
    guard holders.allSatisfy({ $0.whenFull == .degrade }) else { return nil }
    return holders.min { $0.durable < $1.durable }
  }

  /// Where the one is of which writes must not get too far ahead; nil when there is none.
  public var throttlingMark: SequenceNumber? {
    all.filter { $0.whenFull == .throttle && !$0.isDetached }.map(\.durable).min()
  }
}

extension [JournalState.FollowerMark] {
  /// What all of them have for whom anything is kept.
  public var mark: SequenceNumber? {
    #if MUTANTS
      if Mutant.keepForNearest.isOn { return lazy.filter(\.isKept).map(\.durable).max() }
    #endif
    return lazy.filter(\.isKept).map(\.durable).min()
  }
}
