import BlockModel
import Handover
import Journal

/// What outlives an opening of a group that has failed: what its clients were told, which the next
/// opening must answer for. A start of the process knows none of it; its clients have lost their
/// connections to another one.
struct GroupMemory: Equatable, Sendable {
  /// Which group it was: nothing else will do. Nil: whatever is there.
  var identifier: GroupIdentifier?
  /// The last record whose write its clients were told of.
  var acknowledged = SequenceNumber.none
  /// What it lacked by then of what they had been told before.
  var loss: AcknowledgedLoss?

  /// Whether a group that is open again lacks more.
  func lacksMore(than kept: SequenceNumber) -> Bool { kept < acknowledged }

  /// What clients were told and a protected group lacks, now that its order ends with `kept`.
  func loss(keeping kept: SequenceNumber, diskCount: Int) -> AcknowledgedLoss? {
    guard lacksMore(than: kept) else {
      return loss?.spread(over: diskCount)
    }
    return AcknowledgedLoss(after: kept, through: acknowledged, diskCount: diskCount, and: loss)
  }
}

extension Group {
  /// On its loop, or when it has left that. Its clients are told nothing more.
  var memory: GroupMemory {
    GroupMemory(
      identifier: lastingIdentifier, acknowledged: journal?.appended ?? .none, loss: loss)
  }

  /// Until it has a whole copy, a recovery group takes its peer's identifier whenever a copy
  /// begins: the state file may have one that a write which failed has left there.
  private var lastingIdentifier: GroupIdentifier? {
    guard let state = stateKeeper?.state, !state.needsBaseline else { return nil }
    return state.group
  }
}

// MARK: - To another process

extension GroupMemory {
  init(_ handed: HandoverGroup) {
    identifier = handed.identifier.map { GroupIdentifier(high: $0.high, low: $0.low) }
    acknowledged = SequenceNumber(handed.acknowledged)
    loss = handed.loss.map(AcknowledgedLoss.init)
  }

  func handed(_ name: String, isOpen: Bool, completeThrough: Timestamp = .zero) -> HandoverGroup {
    HandoverGroup(
      name: name, isOpen: isOpen, completeThrough: completeThrough.rawValue,
      identifier: identifier.map { .init(high: $0.high, low: $0.low) },
      acknowledged: acknowledged.rawValue,
      loss: loss.map {
        .init(first: $0.first.rawValue, last: $0.last.rawValue, isTold: $0.isTold)
      })
  }
}

extension AcknowledgedLoss {
  init(_ handed: HandoverGroup.Loss) {
    self.init(
      first: SequenceNumber(handed.first), last: SequenceNumber(handed.last),
      isTold: handed.isTold)
  }
}
