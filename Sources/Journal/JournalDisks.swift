import BlockModel
import SystemIO

extension JournalState {
  /// A disk of a group as its records name it.
  public struct Disk: Equatable, Sendable {
    /// In the records: the disk's as long as the group lives, wherever the configuration's list has
    /// it. No other disk of the group ever has it.
    public var number: DiskNumber
    public var name: String
    public var byteCount: UInt64
    /// With this record it came; the origin: with the group. Nil: it is about to come.
    public var added: Mark?
    /// From this record on instants show it.
    public var whole: Mark?
    /// With this record it left.
    public var removed: Mark?
    /// Of one that has left, or is about to: where its bytes lie, as the configuration said.
    public var backing: String
    /// It came while this site owned the group: its base holds what it held, not zeros.
    public var cameHere: Bool

    public init(
      number: DiskNumber = DiskNumber(0), name: String, byteCount: UInt64,
      added: Mark? = .origin, whole: Mark? = .origin
    ) {
      self.number = number
      self.name = name
      self.byteCount = byteCount
      self.added = added
      self.whole = whole
      removed = nil
      backing = ""
      cameHere = false
    }

    /// An instant shows it.
    public func isShown(at instant: Timestamp) -> Bool {
      #if MUTANTS
        let whole = Mutant.showBeforeWhole.isOn ? added : whole
      #endif
      guard let whole, whole.timestamp <= instant else { return false }
      return removed.map { instant < $0.timestamp } ?? true
    }

    /// What is behind this record is void.
    fileprivate mutating func cut(after sequence: SequenceNumber) {
      if let mark = whole, mark.sequence > sequence { whole = nil }
      if let mark = removed, mark.sequence > sequence { removed = nil }
    }
  }

  /// No disk gets this number, or a higher one: each index has a place for all that are lower.
  public static let diskNumberLimit: UInt16 = 4096

  /// All numbers in records are below it.
  public var diskCount: Int { Int(nextDisk) }

  /// By number: where the disk's records end at the latest, in bytes. Those of one that has left,
  /// and of which no instant is left, may be anywhere: nobody reads them.
  public var diskBounds: [UInt64] {
    var bounds = [UInt64](repeating: .max, count: diskCount)
    for disk in disks { bounds[disk.number.index] = disk.byteCount }
    return bounds
  }

  /// Of a group that follows, and owned before: not all has come of what a disk held, and is in its
  /// base all the same. Only a full copy makes it what it is at the owner.
  public var needsCopy: Bool {
    ownership.duty == .following
      && presentDisks.contains { $0.cameHere && $0.whole == nil }
  }

  /// The disks that belong to the group after its last record.
  public var presentDisks: [Disk] { disks.filter { $0.removed == nil && $0.added != nil } }

  /// The one of that name that has not left. It may be one of which no marker is there yet.
  public func disk(named name: String) -> Disk? {
    disks.last { $0.name == name && $0.removed == nil }
  }

  public mutating func change(
    _ number: DiskNumber, _ body: (inout Disk) -> Void
  ) {
    guard let place = disks.firstIndex(where: { $0.number == number }) else { return }
    body(&disks[place])
  }

  /// What markers behind this record said of disks is void: they come again, or never.
  public mutating func cutDisks(after sequence: SequenceNumber) {
    disks.removeAll { $0.added.map { $0.sequence > sequence } ?? false }
    for place in disks.indices { disks[place].cut(after: sequence) }
  }

  /// What markers say that are in the journal. An owner makes that of a disk that comes once more.
  public mutating func noteDisks(_ found: [(change: DiskChange, mark: Mark)]) {
    let isFollowing = ownership.duty == .following
    for (marker, mark) in found {
      change(marker.number) { disk in
        switch marker.event {
        case .added: if isFollowing { disk.added = disk.added ?? mark }
        case .whole: disk.whole = disk.whole ?? mark
        case .removed: disk.removed = disk.removed ?? mark
        }
      }
    }
  }

  /// Whether a marker behind this record has said something of a disk.
  public func namesDisks(after sequence: SequenceNumber) -> Bool {
    disks.contains { disk in
      [disk.added, disk.whole, disk.removed].contains { $0.map { $0.sequence > sequence } ?? false }
    }
  }

  /// Those that left and of which no instant is left are forgotten; their numbers are not.
  public mutating func forgetGoneDisks() {
    disks.removeAll { $0.removed.map { $0.sequence <= applied.sequence } ?? false }
  }
}

extension [JournalState.Disk] {
  public subscript(number: DiskNumber) -> JournalState.Disk? { first { $0.number == number } }

  /// The newest of that name.
  public subscript(named name: String) -> JournalState.Disk? { last { $0.name == name } }

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

  /// For the state file.
  mutating func put(whole disks: [JournalState.Disk]) {
    put(disks)
    for disk in disks {
      for mark in [disk.added, disk.whole, disk.removed] {
        put(mark?.sequence.rawValue ?? .max)
        put(mark?.timestamp.rawValue ?? .max)
      }
      put(disk.backing)
      put(disk.cameHere ? UInt8(1) : 0)
    }
  }
}

extension WireDecoder {
  /// Nil: there are more than `limit`, or one number twice.
  public mutating func takeDisks(limit: Int) throws(Failure) -> [JournalState.Disk]? {
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

  mutating func takeWholeDisks() throws(Failure) -> [JournalState.Disk] {
    guard var disks = try takeDisks(limit: .max) else { throw .tooShort }
    for place in disks.indices {
      disks[place].added = try takeMarkIfAny()
      disks[place].whole = try takeMarkIfAny()
      disks[place].removed = try takeMarkIfAny()
      disks[place].backing = try takeString()
      disks[place].cameHere = try take(UInt8.self) == 1
    }
    return disks
  }

  private mutating func takeMarkIfAny() throws(Failure) -> JournalState.Mark? {
    let (sequence, timestamp) = (try take(UInt64.self), try take(UInt64.self))
    if sequence == .max { return nil }
    return .init(SequenceNumber(sequence), Timestamp(rawValue: timestamp))
  }
}
