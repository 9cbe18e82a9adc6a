import Configuration

extension GroupHost {
  /// Of a group that is closed.
  var closedStatus: GroupStatus {
    let configuration = configuration
    return GroupStatus(
      name: name, role: role.rawValue, health: "not open: \(closedHealth)", closed: openingStatus,
      epoch: 0, watermarks: WatermarkStatus(stamped: 0, appended: 0, durable: 0, applied: 0),
      disks: configuration.disks.map { disk in
        DiskStatus(
          name: disk.name, sizeBytes: disk.sizeBytes ?? 0, backing: disk.backing.description,
          connections: 0)
      })
  }
}
