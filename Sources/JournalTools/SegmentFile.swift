import BlockModel
import Journal
import SystemIO

/// One segment file of a journal folder, as a scan of all its records found it.
public struct SegmentFile: Sendable {
  public enum HeaderReading: Equatable, Sendable {
    case whole(SegmentHeader)
    /// All zeros: created and never used.
    case blank
    /// Something is there that does not verify.
    case unreadable
    case otherVersion(UInt32)
    /// Verifies, but belongs to another group.
    case foreign(SegmentHeader)
    /// Opened by a running site after the folder began to be read: no part of what is shown.
    case later(SegmentHeader)
  }

  /// A record that does not fit the disks of the group.
  public struct Misplaced: Equatable, Sendable {
    public let position: Int
    public let sequence: SequenceNumber
    public let reason: String
  }

  /// Misplaced records that are listed of one segment; more are only the fault of one cause.
  public static let misplacedLimit = 16

  /// Name in the folder.
  public let name: String
  public let file: File
  public private(set) var byteCount: UInt64
  public let reading: HeaderReading
  /// Whole records, from the start.
  public let recordCount: UInt64
  /// Position of the end of the last whole record.
  public let end: Int
  /// Of the last whole record; nil when there is none.
  public let lastTimestamp: Timestamp?
  public let misplaced: [Misplaced]
  /// The system could not read what follows `end`.
  public let failure: Errno?
  /// Set when the folder has seen all its segments; nil while the state file cannot be read.
  public internal(set) var verdict: RecoveryPreview.Verdict?

  /// Nil unless it is whole and of this group.
  public var header: SegmentHeader? {
    if case .whole(let header) = reading { header } else { nil }
  }

  /// The records that count: those of a kept segment up to its cut, all of another.
  public var countedRecords: UInt64 {
    if case .kept(let count) = verdict { count } else { recordCount }
  }

  public var isKept: Bool {
    if case .kept = verdict { true } else { false }
  }

  /// The number after the last whole record.
  var nextSequence: SequenceNumber {
    (header?.firstSequence ?? .none).advanced(by: recordCount)
  }

  /// Rescans of a segment that a running site recycled meanwhile.
  private static let attemptLimit = 4

  /// The number in the header of a file; nil when there is none. Blocks.
  static func number(of name: String, in folder: String) -> UInt32? {
    guard let file = try? File(opening: "\(folder)/\(name)", .readOnly),
      case .whole(let header) = try? readHeader(of: file, group: nil, newest: .max)
    else { return nil }
    return header.number
  }

  /// Reads and verifies all records. Blocks for as long as the file takes to read.
  ///
  /// - Parameter newest: segments with a higher number were opened meanwhile and are left alone.
  init(
    _ name: String, in folder: String, state: JournalState?, newest: UInt32
  ) throws(JournalToolsError) {
    self.name = name
    let path = "\(folder)/\(name)"
    do throws(Errno) {
      file = try File(opening: path, .readOnly)
      byteCount = try file.size()
    } catch { throw .file(path, error, doing: "opening") }
    var reading: HeaderReading
    do throws(Errno) {
      reading = try Self.readHeader(of: file, group: state?.group, newest: newest)
    } catch {
      // A folder in place of a segment has no bytes.
      if error == .isDirectory { byteCount = 0 }
      self.reading = .unreadable
      (recordCount, end, lastTimestamp, misplaced, failure) = Self.nothing(error)
      return
    }
    var scan = Self.scan(file, reading, state)
    for _ in 1..<Self.attemptLimit {
      let after = try? Self.readHeader(of: file, group: state?.group, newest: newest)
      guard let after, after != reading else { break }
      reading = after
      scan = Self.scan(file, reading, state)
    }
    self.reading = reading
    (recordCount, end, lastTimestamp, misplaced, failure) = scan
  }

  private typealias Scan = (UInt64, Int, Timestamp?, [Misplaced], Errno?)

  private static func nothing(_ failure: Errno?) -> Scan {
    (0, SegmentHeader.byteCount, nil, [], failure)
  }

  private static func readHeader(
    of file: File, group: GroupIdentifier?, newest: UInt32
  ) throws(Errno) -> HeaderReading {
    var bytes = [UInt8](repeating: 0, count: SegmentHeader.byteCount)
    let got = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Int, Errno> in
      do throws(Errno) { return .success(try unsafe file.read(into: buffer, at: 0)) } catch {
        return .failure(error)
      }
    }
    guard try got.get() == bytes.count else { return .unreadable }
    do {
      let header = try SegmentHeader(decoding: bytes)
      if let group, header.identity.group != group { return .foreign(header) }
      return header.number > newest ? .later(header) : .whole(header)
    } catch .otherVersion(let version) {
      return .otherVersion(version)
    } catch {
      return bytes.allSatisfy { $0 == 0 } ? .blank : .unreadable
    }
  }

  private static func scan(
    _ file: File, _ reading: HeaderReading, _ state: JournalState?
  ) -> Scan {
    guard case .whole(let header) = reading else { return nothing(nil) }
    var scanner = SegmentScanner(file, header: header, limit: Int(header.segmentByteCount))
    var last: Timestamp?
    var misplaced: [Misplaced] = []
    while true {
      let record: SegmentScanner<File>.Record?
      do throws(Errno) { record = try scanner.next() } catch {
        return (scanner.recordCount, scanner.position, last, misplaced, error)
      }
      guard let record else { break }
      last = record.header.timestamp
      if let state, misplaced.count < misplacedLimit,
        let reason = misplacement(of: record.header, in: state)
      {
        misplaced.append(
          Misplaced(position: record.position, sequence: record.sequence, reason: reason))
      }
    }
    return (scanner.recordCount, scanner.position, last, misplaced, nil)
  }

  private static func misplacement(
    of header: RecordHeader, in state: JournalState
  ) -> String? {
    if header.kind.isMarker { return nil }
    guard let disk = state.disks[header.disk] else {
      // One that has left, and of which no instant is left.
      if header.disk.rawValue < state.nextDisk { return nil }
      return "it names disk \(header.disk.rawValue), which the group does not have"
    }
    guard header.range.end > disk.byteCount else { return nil }
    return "it ends at byte \(header.range.end) of \(disk.name), which has \(disk.byteCount)"
  }
}
