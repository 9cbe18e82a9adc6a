import BlockModel
import SystemIO

/// What a group's loop tells others of the group: as it was at one moment.
struct GroupSnapshot: Sendable {
  /// Without what the analyzer knows, which publishes that itself.
  let status: GroupStatus
  let monotonicNanoseconds: UInt64
}

extension Group {
  /// On the loop: each second, and when somebody asks.
  func publish() {
    published.publish(
      GroupSnapshot(status: status, monotonicNanoseconds: SystemClock.monotonicNanoseconds()))
  }

  /// What the groups are, by their loops, which all have the same time to say so. Of one that does
  /// not, what it said last, with the condition that it does not answer. Blocks; any thread but a
  /// loop's.
  static func statuses(of groups: [Group], milliseconds: UInt64) -> [GroupStatus] {
    let editions = groups.map { group in
      let edition = group.published.edition
      group.loop.post {
        group.noteAsked()
        group.publish()
      }
      return edition
    }
    let end = SystemClock.monotonicNanoseconds() + milliseconds * 1_000_000
    return zip(groups, editions).map { group, edition in
      let now = SystemClock.monotonicNanoseconds()
      let left = now < end ? (end - now) / 1_000_000 : 0
      var status: GroupStatus
      if let snapshot = group.published.next(after: edition, milliseconds: left) {
        status = snapshot.status
      } else {
        status = group.unansweredStatus
      }
      let instant = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
      status.analysis = group.analyzer?.snapshot(at: instant)
      return status
    }
  }

  private var unansweredStatus: GroupStatus {
    let now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    func condition(_ rest: String) -> ConditionStatus {
      ConditionStatus(
        Condition(.groupUnanswered, "the group's loop does not answer" + rest), since: now)
    }
    if let latest = published.latest {
      let age = SystemClock.monotonicNanoseconds() - latest.monotonicNanoseconds
      var status = latest.status
      status.add(condition("; what is shown is \(Self.seconds(age)) old"))
      return status
    }
    return GroupStatus(
      name: configuration.name, role: duty.role.rawValue, conditions: [condition("")], epoch: 0,
      watermarks: WatermarkStatus(stamped: 0, appended: 0, durable: 0, applied: 0), disks: [])
  }
}
