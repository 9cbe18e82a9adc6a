import BlockModel
import NBDProtocol
import Storage
import SystemIO

/// A disk of a plain group whose store failed.
struct PlainFailure: Sendable {
  let disk: DiskNumber
  let error: StorageError
}

/// What goes wrong with the stores of a plain group. Confined to the group's loop.
struct PlainFailures {
  /// Of the request that was staged last; taken by who staged it.
  var ofRequest: StorageError?
  /// What requests have met, by disk, until one succeeds there.
  private var ofRequests: [DiskNumber: String] = [:]
  /// What syncs have met, by disk, until one succeeds.
  private var ofSyncs: [DiskNumber: String] = [:]
  private var lastLogNanoseconds: UInt64?

  @inline(__always)
  mutating func succeeded(_ disk: DiskNumber) {
    if !ofRequests.isEmpty { ofRequests[disk] = nil }
  }

  /// A sync covers all disks; it says nothing of room for the next request.
  mutating func syncSucceeded() { ofSyncs.removeAll() }

  /// What is wrong with the disk now.
  func present(_ disk: DiskNumber) -> String? { ofSyncs[disk] ?? ofRequests[disk] }

  /// Whether to say it in the log: a client that tries on fails often.
  fileprivate mutating func note(_ failure: PlainFailure, isSync: Bool) -> Bool {
    if isSync {
      ofSyncs[failure.disk] = "\(failure.error)"
    } else {
      ofRequests[failure.disk] = "\(failure.error)"
    }
    let now = SystemClock.monotonicNanoseconds()
    if let last = lastLogNanoseconds, now &- last < 1_000_000_000 { return false }
    lastLogNanoseconds = now
    return true
  }
}

/// A group without journal: an error of a store is the answer to the request that met it, and
/// concerns nobody else.
extension Group {
  func noteFailure(_ failure: PlainFailure, isSync: Bool = false) {
    if plain.note(failure, isSync: isSync) {
      log(
        "group \(configuration.name), disk \(disk(failure.disk).name): \(failure.error)")
    }
  }

  /// Syncs all of them, also when one fails. Blocks.
  static func sync(_ disks: [GroupDisk]) -> [PlainFailure] {
    disks.compactMap { disk in
      do throws(StorageError) {
        try disk.store.sync()
        return nil
      } catch { return PlainFailure(disk: disk.number, error: error) }
    }
  }

  /// Each client of a disk is told once that writes may be lost, as Linux tells each open file: now
  /// when it waits for this sync or a later one, else when it asks next. Of what was written before
  /// nothing more is known.
  func syncFailed(_ failures: [PlainFailure], told: [GroupClient] = []) {
    for failure in failures {
      noteFailure(failure, isSync: true)
      for connection in connections.members where connection.disk == failure.disk {
        if !told.contains(where: { $0 === connection }) { connection.owedFailure = failure.error }
      }
    }
  }
}

extension NBDError {
  /// What a client is told.
  init(_ error: StorageError) {
    if case .noSpace = error { self = .noSpace } else { self = .io }
  }

  static func text(_ error: StorageError) -> NBDErrorText {
    switch error {
    case .noSpace: "no space left where the disk lies"
    case .readOnly: "where the disk lies is read-only"
    default: "the disk failed; the site's log says how"
    }
  }
}
