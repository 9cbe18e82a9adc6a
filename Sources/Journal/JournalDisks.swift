import BlockModel

extension JournalState {
  /// A disk of a group as its records name it.
  public struct Disk: Equatable, Sendable {
    /// In the records: the disk's as long as the group lives, wherever the configuration's list has
    /// it.
    public var number: DiskNumber
    public var name: String
    public var byteCount: UInt64

    public init(number: DiskNumber = DiskNumber(0), name: String, byteCount: UInt64) {
      self.number = number
      self.name = name
      self.byteCount = byteCount
    }
  }
}

extension [JournalState.Disk] {
  public subscript(number: DiskNumber) -> JournalState.Disk? { first { $0.number == number } }

  public subscript(named name: String) -> JournalState.Disk? { first { $0.name == name } }

  /// Sizes in bytes by number; 0 where there is no such disk.
  public var byteCounts: [UInt64] {
    var counts = [UInt64](repeating: 0, count: numberCount)
    for disk in self { counts[disk.number.index] = disk.byteCount }
    return counts
  }

  /// All numbers are below it.
  public var numberCount: Int { (map(\.number.index).max() ?? -1) + 1 }
}

extension WireEncoder {
  public mutating func put(_ disks: [JournalState.Disk]) {
    put(UInt16(disks.count))
    for disk in disks {
      put(disk.number.rawValue)
      put(disk.name)
      put(disk.byteCount)
    }
  }
}

extension WireDecoder {
  /// Nil: there are more than `limit`, or one number twice.
  public mutating func takeDisks(
    limit: Int
  ) throws(Failure) -> [JournalState.Disk]? {
    let count = Int(try take(UInt16.self))
    guard count <= limit else { return nil }
    var disks: [JournalState.Disk] = []
    for _ in 0..<count {
      disks.append(
        .init(
          number: DiskNumber(try take()), name: try takeString(), byteCount: try take()))
    }
    return Set(disks.map(\.number)).count == count ? disks : nil
  }
}
