import BlockModel
import Configuration
import Synchronization

/// Counts the clients that have opened an export and turns those away that would be too many. Any
/// thread.
final class ClientAdmission: Sendable {
  /// A client's place among those that are served. It is free again once nothing is left of the
  /// client's connection: neither its descriptor nor work of its on a worker.
  final class Place: Sendable {
    private let admission: ClientAdmission
    private let disk: String

    fileprivate init(_ admission: ClientAdmission, disk: String) {
      self.admission = admission
      self.disk = disk
    }

    deinit { admission.leave(disk) }
  }

  /// For the log and the client.
  struct Refusal: Error { let message: String }

  private struct Counts {
    var total = 0
    /// By the disk's name, which is unique in a site.
    var byDisk: [String: Int] = [:]
  }

  private let limits: ClientLimits
  private let counts = Mutex(Counts())

  init(_ limits: ClientLimits) { self.limits = limits }

  func admit(to disk: String) throws(Refusal) -> Place {
    let message: String? = counts.withLock { counts in
      if counts.total >= limits.connections {
        return "the site serves no more clients: limits.connections is \(limits.connections)"
      }
      if counts.byDisk[disk, default: 0] >= limits.connectionsPerDisk {
        return "disk \(disk) serves no more clients: limits.connections_per_disk is "
          + "\(limits.connectionsPerDisk)"
      }
      counts.total += 1
      counts.byDisk[disk, default: 0] += 1
      return nil
    }
    if let message { throw Refusal(message: message) }
    return Place(self, disk: disk)
  }

  private func leave(_ disk: String) {
    counts.withLock { counts in
      counts.total -= 1
      counts.byDisk[disk, default: 0] -= 1
      if counts.byDisk[disk] == 0 { counts.byDisk[disk] = nil }
    }
  }
}
