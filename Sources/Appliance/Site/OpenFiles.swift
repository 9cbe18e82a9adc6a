import Configuration
import SystemIO

/// How many files a site may come to have open, and seeing to it that the system lets it.
enum OpenFiles {
  /// Standard streams, the control socket and its clients, links in their greeting, workers.
  private static let fixed = 192
  /// A loop for groups, and one for views, have a poller and what wakes it each.
  private static let perProcessor = 4
  /// State, lock, wakeup, sidecar, directory, a share of a loop.
  private static let perGroup = 10
  /// Its connection and its wake-up.
  private static let perPeer = 2
  /// Of a journal: index files of generations whose segment has no sidecar yet, which a segment of
  /// the smallest records has this many of.
  private static let perJournal = 80
  /// An upstream server takes several connections.
  private static let perDisk = 5
  /// Of a client: one in the handshake; one with an export, and what apply saves for its view.
  private static let perClient = 3

  static func need(of configuration: SiteConfiguration) -> Int {
    let groups = configuration.groups.map { group in
      // Each segment of a journal stays open, and the files of merged indexes: one for each eight
      // segments, for each 64, and so on.
      let journal = group.journal
      let segments =
        group.role == .plain ? 0 : Int(journal.capacityBytes / journal.segmentSizeBytes)
      let ofJournal = group.role == .plain ? 0 : segments + segments / 7 + perJournal
      return ofJournal + perGroup + perPeer * max(1, group.peers.count)
        + perDisk * group.disks.count
    }
    return fixed + perProcessor * SystemInfo.processorCount + configuration.listen.nbd.count
      + perClient * configuration.limits.connections
      + groups.reduce(0, +)
  }

  /// Of a branch: its journal, and what is saved for it.
  static func need(of branch: GroupConfiguration) -> Int {
    let segments = Int(branch.journal.capacityBytes / branch.journal.segmentSizeBytes)
    return segments + segments / 7 + perJournal + perGroup + 1
  }

  /// Raises the process's limit to what the configuration can need.
  ///
  /// - Parameter branches: as they are configured.
  static func secure(
    _ configuration: SiteConfiguration, branches: [GroupConfiguration] = []
  ) throws(SiteError) {
    let need = branches.reduce(need(of: configuration)) { $0 + self.need(of: $1) }
    let limit: Int
    do throws(Errno) { limit = try OpenFileLimit.raise(to: need) } catch {
      throw SiteError("the limit of open files: \(error)")
    }
    guard limit < need else { return }
    throw SiteError(
      "the configuration\(branches.isEmpty ? "" : " with its tests") can need \(need) open files, "
        + "and the system allows \(limit): raise LimitNOFILE of the service (or `ulimit -n`) to "
        + "\(need), or lower limits.connections or journal.capacity")
  }
}
