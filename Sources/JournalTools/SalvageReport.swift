import BlockModel
import Journal

/// What a salvage could not put into the file.
public struct SalvageReport: Codable, Equatable, Sendable {
  /// Records that are not in the file, though the instant includes them.
  public struct LeftOut: Codable, Equatable, Sendable {
    /// `lost`: they cannot be read. `behind`: whole, but others before them are lost.
    public var kind: String
    public var firstSequence: UInt64
    /// Lower than the first when their number is not known.
    public var lastSequence: UInt64
    /// Where the first one should be; absent for those that are whole.
    public var file: String?
    public var position: Int?
    /// RFC 3339: of the whole records before and after them.
    public var after: String?
    public var before: String?

    enum CodingKeys: String, CodingKey {
      case kind, file, position, after, before
      case firstSequence = "first_sequence"
      case lastSequence = "last_sequence"
    }
  }

  public struct Range: Codable, Equatable, Sendable {
    public var offset: UInt64
    public var length: UInt64
  }

  /// The file is a state that the disk had, provided that the base is as the notes ask for.
  public var isConsistent = true
  /// In order; of very many the first `listLimit`.
  public var leftOut: [LeftOut] = []
  public var leftOutRecords: UInt64 = 0
  /// Records left out of which not even the range is known; they may be of other disks.
  public var recordsWithoutRange: UInt64 = 0
  /// Ranges of the disk that records left out had written: there the file may be out of date. In
  /// ascending order; of very many the first `listLimit`.
  public var stale: [Range] = []
  public var staleRanges = 0
  public var staleBytes: UInt64 = 0

  public static let listLimit = 1000

  /// Nothing is missing.
  public init() {}

  public var isComplete: Bool { leftOut.isEmpty && isConsistent }

  enum CodingKeys: String, CodingKey {
    case stale
    case isConsistent = "consistent"
    case leftOut = "left_out"
    case leftOutRecords = "left_out_records"
    case recordsWithoutRange = "records_without_range"
    case staleRanges = "stale_ranges"
    case staleBytes = "stale_bytes"
  }
}

/// Collects a report during a walk.
struct SalvageLedger: ~Copyable {
  private(set) var report = SalvageReport()
  private(set) var hasLoss = false
  private let disk: DiskNumber
  private let sizeBytes: UInt64
  /// Zeros where the file is out of date, holes where a later record made up for it.
  private var ranges = ExtentMap()

  init(disk: DiskNumber, sizeBytes: UInt64) {
    self.disk = disk
    self.sizeBytes = sizeBytes
  }

  mutating func add(_ lost: SalvageWalk.Lost) {
    hasLoss = true
    report.leftOutRecords += lost.count
    report.recordsWithoutRange += lost.count - min(lost.count, UInt64(lost.headers.count))
    for header in lost.headers { mark(header, .zeros) }
    append(
      .init(
        kind: "lost", firstSequence: lost.first.rawValue, lastSequence: lost.last.rawValue,
        file: lost.file, position: lost.position, after: lost.after?.description,
        before: lost.before?.description))
  }

  /// A whole record that cannot be used: it lies outside of its disk.
  mutating func addMisplaced(_ record: SalvageWalk.Whole) {
    hasLoss = true
    report.leftOutRecords += 1
    report.recordsWithoutRange += 1
    let instant = record.header.timestamp.description
    append(
      .init(
        kind: "lost", firstSequence: record.sequence.rawValue,
        lastSequence: record.sequence.rawValue, after: instant, before: instant))
  }

  /// A whole record that is not applied, because others before it are lost.
  mutating func addBehind(_ record: SalvageWalk.Whole) {
    report.leftOutRecords += 1
    mark(record.header, .zeros)
    let number = record.sequence.rawValue
    let instant = record.header.timestamp.description
    if let last = report.leftOut.indices.last, report.leftOut[last].kind == "behind",
      report.leftOut[last].lastSequence + 1 == number
    {
      report.leftOut[last].lastSequence = number
      report.leftOut[last].before = instant
      return
    }
    append(
      .init(
        kind: "behind", firstSequence: number, lastSequence: number, after: instant,
        before: instant))
  }

  /// A record applied behind a loss: what it wrote is what the disk had there.
  mutating func makeUp(_ record: SalvageWalk.Whole) {
    if hasLoss { mark(record.header, .hole) }
  }

  mutating func setInconsistent() { report.isConsistent = false }

  private mutating func append(_ entry: SalvageReport.LeftOut) {
    if report.leftOut.count < SalvageReport.listLimit { report.leftOut.append(entry) }
  }

  private mutating func mark(_ header: RecordHeader, _ source: ExtentSource) {
    guard !header.kind.isMarker, header.disk == disk, header.length > 0,
      let range = ByteRange(
        validating: header.offset, length: UInt64(header.length), size: sizeBytes)
    else { return }
    ranges.insert(range, source)
  }

  consuming func finish() -> SalvageReport {
    var result = report
    ranges.forEachExtent { extent in
      guard extent.source == .zeros else { return }
      result.staleRanges += 1
      result.staleBytes += extent.length
      if result.stale.count < SalvageReport.listLimit {
        result.stale.append(.init(offset: extent.start, length: extent.length))
      }
    }
    return result
  }
}
