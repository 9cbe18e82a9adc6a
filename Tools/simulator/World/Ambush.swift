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
    /// A full copy to the site has begun.
    case copyBegun

    /// Those that are drawn.
    static var drawn: [Moment] { allCases.filter { $0 != .copyBegun } }
  }

  let moment: Moment
  enum Fault {
    /// The victims end, mostly by a power cut.
    case crash
    /// They lose all that was not synced, but for the file that was just written.
    case bareCrash(writesBack: Bool)
    /// A sync fails there, and a part of what it was to write is lost.
    case lostSync
    /// The network is slow for a while.
    case slowNetwork
  }

  /// The site at which it must come.
  let site: Int
  /// So many are let pass.
  var passes: Int
  /// Of the sites, those that crash.
  let victims: [Int]
  var fault = Fault.crash
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
    } else if path.contains("/branches/") {
      return nil
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
