import SystemIO

/// Why a journal folder could not be looked at, or a disk could not be got out of it.
public enum JournalToolsError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A file or folder could not be read or written.
  case file(String, Errno, doing: String)
  /// The folder holds neither a state file nor segments.
  case notAJournal(String)
  /// What was asked for cannot be done; one sentence without a full stop.
  case refused(String)

  public var description: String {
    switch self {
    case .file(let path, let errno, let doing): "\(doing) \(path): \(errno)"
    case .notAJournal(let path):
      "\(path) is not a journal: it holds neither a state file nor segments"
    case .refused(let reason): reason
    }
  }
}
