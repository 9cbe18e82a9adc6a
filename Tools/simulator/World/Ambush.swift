/// A crash that waits for its moment: one that leaves a site, or the two of them, between two
/// states.
struct Ambush {
  enum Moment: CaseIterable {
    /// The header of a segment is written.
    case segmentBegun
    /// A segment's header is blanked.
    case segmentErased
    case recordsWritten
    case stateWritten
    case sidecarWritten
    case diskWritten
  }

  let moment: Moment
  /// The site at which it must come.
  let site: Int
  /// So many are let pass.
  var passes: Int
  /// Of the sites, those that crash.
  let victims: [Int]
  /// Their connections break at once.
  let separates: Bool
  /// From the moment to the crash, in nanoseconds.
  let delay: ClosedRange<UInt64>
  /// Only a segment will do before which all is durable at the protected site.
  var isAfterDurable = false
  /// No other takes its place before its moment has come.
  var isLasting = false
}

extension Ambush.Moment {
  /// What a write to a file is; nil: nothing of interest.
  init?(_ path: String, _ offset: Int, _ bytes: [UInt8]) {
    if path.hasPrefix("/disks/") {
      self = .diskWritten
    } else if path.contains(".index") {
      self = .sidecarWritten
    } else if path.contains("/segment-") {
      if offset > 0 {
        self = .recordsWritten
      } else {
        self = bytes.prefix(8).allSatisfy { $0 == 0 } ? .segmentErased : .segmentBegun
      }
    } else if path.contains("/state") {
      self = .stateWritten
    } else {
      return nil
    }
  }
}
