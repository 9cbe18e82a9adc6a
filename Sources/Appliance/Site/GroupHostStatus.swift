import BlockModel
import Configuration
import SystemIO

extension GroupHost {
  /// Of a group that is closed.
  var closedStatus: GroupStatus {
    let configuration = configuration
    let since = closedSince ?? Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    let condition =
      changeUnderWay.map { Condition(.changingHands, "not open: \($0)") }
      ?? Condition(.groupClosed, "not open: \(closedHealth)")
    return GroupStatus(
      name: name, role: role.rawValue, conditions: [ConditionStatus(condition, since: since)],
      closed: openingStatus, epoch: 0,
      watermarks: WatermarkStatus(stamped: 0, appended: 0, durable: 0, applied: 0),
      disks: configuration.disks.map { disk in
        DiskStatus(
          name: disk.name, sizeBytes: disk.sizeBytes ?? 0, backing: disk.backing.description,
          connections: 0)
      })
  }
}
