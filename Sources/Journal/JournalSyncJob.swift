import BlockModel
import SystemIO

extension Journal {
  /// What must be synced so that everything up to `sequence` is durable.
  public struct SyncJob: Sendable {
    let newest: Storage.File?
    /// Those before it, mostly none.
    let others: [Storage.File]
    let throughSegment: UInt32
    public let sequence: SequenceNumber
    public let timestamp: Timestamp

    /// Blocks. For a worker.
    public func run() throws(Errno) {
      #if MUTANTS
        let others = Mutant.syncNewestOnly.isOn ? [] : others
      #endif
      for file in others { try file.syncData() }
      try newest?.syncData()
    }
  }
}
