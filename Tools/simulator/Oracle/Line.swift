import BlockModel

/// The order of a group's records as one site has it, and with it the disks after each record:
/// the plain replay that everything is compared with.
final class Line {
  /// Record 1 is the first.
  private(set) var records: [Record] = []
  /// Grows when records are taken back, so that a reader knows that the ground has moved.
  private(set) var generation = 0

  private let initial: [DiskImage]
  private typealias Snapshot = (count: Int, disks: [DiskImage])
  /// Ascending by count. Pages are shared, so many of them cost little.
  private var snapshots: [Snapshot] = []
  /// What was asked for last: the next question is often about a little more.
  private var recent: Snapshot?
  private static let snapshotSpacing = 32

  init(initial: [DiskImage]) { self.initial = initial }

  var count: Int { records.count }
  var lastTimestamp: Timestamp { records.last?.header.timestamp ?? .zero }

  func append(_ record: Record) { records.append(record) }

  /// Keeps the first `count` records; returns those that go.
  @discardableResult
  func truncate(to count: Int) -> ArraySlice<Record> {
    guard count < records.count else { return [] }
    let dropped = records[count...]
    records.removeLast(records.count - count)
    snapshots.removeAll { $0.count > count }
    recent = nil
    generation += 1
    return dropped
  }

  /// Becomes the line that ends with this record.
  func adopt(endingWith last: Record?) {
    var tail: [Record] = []
    var next = last
    while let record = next {
      if record.sequence <= count, records[Int(record.sequence) - 1] === record { break }
      tail.append(record)
      next = record.previous
    }
    truncate(to: Int(next?.sequence ?? 0))
    records += tail.reversed()
  }

  /// Another site's from now on: a reader of either knows that the ground has moved.
  func moves(beside other: Line) {
    generation = max(generation, other.generation) + 1
    other.generation = generation
  }

  /// Becomes another line.
  func adopt(_ records: [Record]) {
    self.records = records
    snapshots = []
    recent = nil
    generation += 1
  }

  /// The disks after the first `count` records.
  func disks(after count: Int) -> [DiskImage] {
    var known: Snapshot = snapshots.last { $0.count <= count } ?? (0, initial)
    if let recent, recent.count <= count, recent.count > known.count { known = recent }
    while known.count < count {
      records[known.count].apply(to: &known.disks)
      known.count += 1
      if known.count % Self.snapshotSpacing == 0, known.count > snapshots.last?.count ?? 0 {
        snapshots.append(known)
      }
    }
    recent = known
    return known.disks
  }

  /// How many records are at or before the instant: timestamps ascend.
  func count(through instant: Timestamp) -> Int {
    var low = 0
    var high = records.count
    while low < high {
      let middle = (low + high) / 2
      if records[middle].header.timestamp <= instant { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The one with this number; nil when there is none.
  func record(_ number: Int) -> Record? {
    number > 0 && number <= count ? records[number - 1] : nil
  }

  /// The last record at or before the instant.
  func last(through instant: Timestamp) -> Record? { record(count(through: instant)) }

  /// Whether both lines have the same records as far as both reach.
  func agrees(with other: Line) -> Bool {
    let shared = min(count, other.count)
    return shared == 0 || records[shared - 1] === other.records[shared - 1]
  }
}
