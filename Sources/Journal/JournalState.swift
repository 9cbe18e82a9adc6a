import BlockModel
import SystemIO

/// What a group must know of itself besides the segments: a small record, replaced as a whole.
public struct JournalState: Equatable, Sendable {
  public struct Disk: Equatable, Sendable {
    public var name: String
    public var byteCount: UInt64
    public init(name: String, byteCount: UInt64) {
      self.name = name
      self.byteCount = byteCount
    }
  }

  /// The first sequence number of an epoch.
  public struct EpochStart: Equatable, Sendable {
    public var epoch: UInt64
    public var firstSequence: SequenceNumber
    public init(epoch: UInt64, firstSequence: SequenceNumber) {
      self.epoch = epoch
      self.firstSequence = firstSequence
    }
  }

  /// How far the base disks are a copy of the protected ones.
  public enum Baseline: Equatable, Sendable {
    /// The base was never filled: a recovery group that has not met its peer, or whose peer told
    /// that order was lost.
    case missing
    /// A sync is filling it; instants before its end do not exist.
    case copying
    case complete
  }

  public struct Mark: Equatable, Sendable {
    public var sequence: SequenceNumber
    public var timestamp: Timestamp
    public init(_ sequence: SequenceNumber, _ timestamp: Timestamp) {
      self.sequence = sequence
      self.timestamp = timestamp
    }
    public static let origin = Mark(.none, .zero)
  }

  public var groupName: String
  public var group: GroupIdentifier
  public var epoch: UInt64
  /// Oldest first; bounded by `epochLimit` (older ones are forgotten: a peer that far back is
  /// copied anew).
  public var epochs: [EpochStart]
  /// The bases hold everything up to here.
  public var applied: Mark
  /// An apply step up to here may have begun: the bases may hold parts of what lies between.
  public var applyTarget: Mark
  /// At least this much is durable.
  public var durable: SequenceNumber
  /// At least this much is durable at the peer; nil when there is none or it must be copied anew.
  public var peerDurable: SequenceNumber?
  public var baseline: Baseline
  /// That no record at or before it will follow: at the stamping side what may be given, at a
  /// receiving side what the peer gave when all records up to it were durable here.
  public var promise: Promise
  /// Instants before it cannot be opened (set when a sync ends).
  public var historyStart: Timestamp
  public var isClean: Bool
  public var disks: [Disk]
  /// Intervals of the timeline in which order was lost, oldest first; bounded by `gapLimit`.
  public var gaps: [Gap]

  public struct Gap: Equatable, Sendable {
    public var from: Timestamp
    public var to: Timestamp
    public init(from: Timestamp, to: Timestamp) {
      self.from = from
      self.to = to
    }
  }

  public static let epochLimit = 256
  public static let gapLimit = 64

  public init(groupName: String, group: GroupIdentifier, disks: [Disk], baseline: Baseline) {
    self.groupName = groupName
    self.group = group
    epoch = 1
    epochs = [EpochStart(epoch: 1, firstSequence: SequenceNumber(1))]
    applied = .origin
    applyTarget = .origin
    durable = .none
    peerDurable = nil
    self.baseline = baseline
    promise = .none
    historyStart = .zero
    isClean = true
    self.disks = disks
    gaps = []
  }

  /// Nothing is written any more until the next start, and all is durable.
  ///
  /// - Parameter promised: what was given, and nothing later will be.
  public mutating func noteStop(
    durable: SequenceNumber, peerDurable: SequenceNumber?, promised: Timestamp
  ) {
    isClean = true
    promise = Promise(given: promised)
    self.durable = max(self.durable, durable)
    self.peerDurable = peerDurable
  }

  /// Begins the next epoch with the record after `last`.
  public mutating func beginEpoch(after last: SequenceNumber) {
    epoch += 1
    noteEpoch(EpochStart(epoch: epoch, firstSequence: last.advanced(by: 1)))
    #if MUTANTS
      if Mutant.keepPeerMark.isOn { return }
    #endif
    // The peer may have had more, of what is lost; its records are not those that will come.
    peerDurable = peerDurable.map { min($0, last) }
  }

  /// The change after this one was written down and may be lost: that the group is in use, that an
  /// epoch has begun, that the peer's mark was set back.
  public mutating func distrust() {
    isClean = false
    epoch += 1
    promise.distrust()
    peerDurable = peerDurable.map { _ in .none }
  }

  public mutating func noteEpoch(_ start: EpochStart) {
    epoch = max(epoch, start.epoch)
    epochs.removeAll { $0.epoch >= start.epoch }
    epochs.append(start)
    if epochs.count > Self.epochLimit { epochs.removeFirst(epochs.count - Self.epochLimit) }
  }

  public mutating func noteGap(_ gap: Gap) {
    gaps.append(gap)
    if gaps.count > Self.gapLimit { gaps.removeFirst(gaps.count - Self.gapLimit) }
  }

  /// A full copy is complete: instants can be opened again from `start` on, and the gap that the
  /// copy began ends there.
  public mutating func completeBaseline(at start: Timestamp) {
    baseline = .complete
    historyStart = start
    promise = Promise(given: max(promise.through, start))
    // Until now its end was taken from this site's clock, which may be ahead of the peer's.
    if let last = gaps.indices.last { gaps[last].to = start }
    // The peer may have lost what was the end of the history here.
    for index in gaps.indices {
      gaps[index].from = min(gaps[index].from, start)
      gaps[index].to = min(gaps[index].to, start)
    }
  }
}
