import BlockModel
import Journal
import SystemIO

/// A group's journal folder, read without a running site and without changing anything.
///
/// While this value lives it holds the folder's lock, so that no site starts on the folder. When a
/// site holds it, the folder is read all the same: what the site recycles meanwhile is read again,
/// and the end of the newest segment is taken as it is found.
public final class JournalFolder: Sendable {
  public enum StateReading: Equatable, Sendable {
    case state(JournalState)
    /// One sentence without a full stop.
    case problem(String)
    case otherVersion(UInt32)

    /// What is wrong with it; nil when nothing is.
    public var problem: String? {
      switch self {
      case .state: nil
      case .problem(let problem): problem
      case .otherVersion(let version):
        "it \(FormatVersion.advice(version, own: JournalStateFile<File>.version))"
      }
    }
  }

  public static let stateName = "state"
  public static let lockName = "lock"

  public let path: String
  /// A running site holds the lock.
  public let isInUse: Bool
  public let stateReading: StateReading
  /// Known to be durable before the segments were read.
  let durableBefore: SequenceNumber
  private let sidecarsVouchFor: SequenceNumber
  /// By segment number; those without a readable header last, by name.
  public let segments: [SegmentFile]
  /// The last record's number; nil while the state file cannot be read.
  public let lastSequence: SequenceNumber?
  private let lock: File?

  public var state: JournalState? { stateReading.state }

  var isOfNewerVersion: Bool {
    if case .otherVersion = stateReading { true } else { false }
  }

  /// The journal's segments, oldest first. Without a state file, all that have a header.
  public var keptSegments: [SegmentFile] {
    segments.filter { $0.isKept || ($0.verdict == nil && $0.header != nil) }
  }

  /// Reads and verifies every record in the folder. Blocks for as long as that takes.
  public init(_ path: String) throws(JournalToolsError) {
    self.path = path
    var segmentNames = try Self.segmentNames(in: path)
    guard Directory.exists("\(path)/\(Self.stateName)") || !segmentNames.isEmpty else {
      throw .notAJournal(path)
    }
    (lock, isInUse) = Self.takeLock(path)
    // Durable is read before the segments and applied after them: in a folder in use both grow,
    // and only this order makes everything between them certain to be found.
    let before = Self.readState(path)
    durableBefore = before.state?.durable ?? .none
    var newest = UInt32.max
    if isInUse {
      // A file that was read may be recycled into a segment whose successor is read later, which
      // would then seem to follow a hole. So what is opened from now on is left out, and the
      // files are listed again, because one of the segments up to here may be in a new one.
      newest = segmentNames.compactMap { SegmentFile.number(of: $0, in: path) }.max() ?? 0
      segmentNames = try Self.segmentNames(in: path)
    }
    var segments: [SegmentFile] = []
    for name in segmentNames {
      segments.append(
        try SegmentFile(name, in: path, state: before.state, newest: newest))
    }
    stateReading = isInUse ? Self.readState(path) : before
    if case .state(let state) = stateReading {
      let preview = RecoveryPreview(
        of: segments.map { Self.scan($0, oldest: state.oldestSegment) },
        applied: state.applied.sequence)
      for index in segments.indices { segments[index].verdict = preview.verdicts[index] }
      lastSequence = preview.lastSequence
    } else {
      lastSequence = nil
    }
    self.segments = segments.sorted(by: Self.isBefore)
    sidecarsVouchFor = isInUse ? .none : Self.vouched(self.segments, before.state, path)
  }

  /// The last record that a sidecar of a segment says was durable, and no later epoch made void.
  /// Of applied records none counts: they may have been recycled.
  private static func vouched(
    _ segments: [SegmentFile], _ state: JournalState?, _ path: String
  ) -> SequenceNumber {
    guard let state, !state.needsBaseline else { return .none }
    let disks = state.diskBounds
    var newest = SequenceNumber.none
    for segment in segments {
      let name = SidecarIndex.name(ofSegmentFile: segment.name)
      guard let header = segment.header, header.firstSequence > state.applied.sequence,
        let file = try? File(opening: "\(path)/\(name)", .readOnly),
        let count = try? SidecarIndex.read(file, of: header, disks: disks).recordCount
      else { continue }
      var end = header.firstSequence.advanced(by: count)
      for other in segments.compactMap(\.header) where other.epoch > header.epoch {
        end = min(end, max(other.firstSequence, header.firstSequence))
      }
      newest = max(newest, SequenceNumber(end.rawValue - 1))
    }
    return newest
  }

  /// Records up to here were durable, by the state file or a sidecar.
  var durableKnown: SequenceNumber { max(durableBefore, sidecarsVouchFor) }

  private static func segmentNames(in folder: String) throws(JournalToolsError) -> [String] {
    do throws(Errno) {
      return try Directory.names(in: folder).filter {
        JournalRecovery<FolderStorage>.slot(named: $0) != nil
      }
    } catch { throw .file(folder, error, doing: "reading") }
  }

  private static let lockAttempts = 5

  private static func takeLock(_ folder: String) -> (File?, isInUse: Bool) {
    guard let file = try? File(opening: "\(folder)/\(lockName)", .readOnly) else {
      return (nil, false)
    }
    // A child that this process is starting holds what is open here until it runs its program.
    for attempt in 0..<lockAttempts {
      if attempt > 0 { Thread.sleep(milliseconds: 20) }
      if (try? file.tryLock()) ?? true { return (file, false) }
    }
    return (nil, true)
  }

  private static func readState(_ folder: String) -> StateReading {
    do throws(Errno) {
      let file = try File(opening: "\(folder)/\(stateName)", .readOnly)
      return switch try JournalStateFile(file).read() {
      case .state(let state, _): .state(state)
      case .blank: .problem("it was never written")
      case .damaged: .problem("neither of its two copies verifies")
      case .otherVersion(let version): .otherVersion(version)
      }
    } catch { return .problem("it cannot be read: \(error)") }
  }

  private static func scan(_ segment: SegmentFile, oldest: UInt32) -> RecoveryPreview.Scan {
    RecoveryPreview.Scan(
      header: segment.header.flatMap { $0.number < oldest ? nil : $0 },
      recordCount: segment.recordCount, end: segment.end,
      lastTimestamp: segment.lastTimestamp ?? .zero)
  }

  private static func isBefore(_ a: SegmentFile, _ b: SegmentFile) -> Bool {
    switch (a.header, b.header) {
    case (let a?, let b?): (a.number, a.epoch) < (b.number, b.epoch)
    case (.some, nil): true
    case (nil, .some): false
    case (nil, nil): a.name < b.name
    }
  }

  /// The name of a disk; `#N` when the state file does not tell.
  public func diskName(_ number: DiskNumber) -> String {
    state?.disks[number]?.name ?? "#\(number.rawValue)"
  }
}

extension JournalFolder.StateReading {
  var state: JournalState? {
    if case .state(let state) = self { state } else { nil }
  }
}
