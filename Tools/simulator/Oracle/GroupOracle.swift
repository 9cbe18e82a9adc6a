import BlockModel
import Journal

/// The two sites of a group.
enum Role: String, CaseIterable {
  case protected, recovery
}

/// What must be true of one group, whatever fails: the plain bookkeeping that both sites and their
/// clients are held to.
final class GroupOracle {
  let name: String
  let diskNames: [String]
  let protected: ProtectedOracle
  let recovery: RecoveryOracle
  let violation: (String) -> Never

  init(
    name: String, diskNames: [String], initial: [[UInt8]], violation: @escaping (String) -> Never
  ) {
    self.name = name
    self.diskNames = diskNames
    let violation: (String) -> Never = { violation("group \(name): \($0)") }
    self.violation = violation
    let images = initial.map { DiskImage($0) }
    let archive = Archive()
    protected = ProtectedOracle(Line(initial: images), archive, violation)
    recovery = RecoveryOracle(Line(initial: images), archive, violation)
  }

  func line(_ role: Role) -> Line { role == .protected ? protected.line : recovery.line }

  // MARK: The sites' files

  func opened(_ role: Role, _ header: SegmentHeader) {
    switch role {
    case .protected: protected.opened(header)
    case .recovery: recovery.opened(header)
    }
  }

  /// Writing goes on after record `last`, over what follows it.
  func rewound(_ role: Role, to last: UInt64) {
    if role == .protected { protected.rewound(to: last) }
  }

  func found(_ role: Role, _ found: SegmentWatcher.Found) -> Record {
    switch role {
    case .protected: protected.stamped(found)
    case .recovery: recovery.received(found)
    }
  }

  /// A full copy begins at the recovery site: its journal is empty and goes on after `start`.
  func erased(start: UInt64) {
    recovery.erased(keeping: Array(protected.line.records.prefix(Int(start))))
  }
}

/// Every segment that the protected site ever wrote, also what of it was lost later.
final class Archive {
  struct Segment {
    /// The record before the segment's first; nil: there is none.
    let predecessor: Record?
    var records: [Record] = []
  }

  private(set) var segments: [SegmentIdentity: Segment] = [:]

  func open(_ identity: SegmentIdentity, after predecessor: Record?) {
    segments[identity] = Segment(predecessor: predecessor)
  }

  func add(_ record: Record) { segments[record.identity]?.records.append(record) }

  func record(_ identity: SegmentIdentity, _ index: Int) -> Record? {
    guard let segment = segments[identity], index < segment.records.count else { return nil }
    return segment.records[index]
  }
}
