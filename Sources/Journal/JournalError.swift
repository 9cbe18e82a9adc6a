import BlockModel
import SystemIO

public enum JournalError: Error, Sendable, CustomStringConvertible {
  /// The folder or a file in it could not be read or written.
  case storage(Errno, doing: String)
  /// Records that were acknowledged as durable are not there or do not verify.
  case damaged(String)
  /// The folder belongs to another group, or its disks are others.
  case mismatch(String)
  case otherVersion(UInt32)
  /// What the peer sent is not what must come next.
  case notNext(String)
  /// The next record is right, but not later than what the peer had promised: no record at or
  /// before it would follow.
  case brokenPromise(sequence: SequenceNumber, of: Timestamp, promised: Timestamp)
  /// The next record is right, but ends at byte `end` of a disk that is smaller here.
  case behindEnd(sequence: SequenceNumber, disk: DiskNumber, end: UInt64)

  public var description: String {
    switch self {
    case .storage(let errno, let doing):
      "journal: \(doing): \(errno.withAdvice)"
    case .damaged(let what):
      "journal is damaged: \(what); `tapline journal verify` names the damage and "
        + "`tapline journal export --salvage` gets out what is whole"
    case .mismatch(let what):
      "journal: \(what)"
    case .otherVersion(let version):
      "journal \(FormatVersion.advice(version, own: SegmentHeader.version))"
    case .notNext(let what):
      "replicated records: \(what)"
    case .brokenPromise(let sequence, let timestamp, let promised):
      "replicated records: record \(sequence.rawValue) is of \(timestamp), and nothing at or "
        + "before \(promised) was to follow"
    case .behindEnd(let sequence, let disk, let end):
      "replicated records: record \(sequence.rawValue) ends at byte \(end) of disk "
        + "\(disk.rawValue), which is smaller"
    }
  }
}
