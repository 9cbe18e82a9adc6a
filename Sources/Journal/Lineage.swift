import BlockModel

/// The incarnations of a group as one site knows them: which records are whose.
///
/// At an owner: those that it has had, also ones whose records a power cut took. At a follower:
/// those of which it has records. Only the newest `limit` are kept.
public struct Lineage: Equatable, Sendable {
  public static let limit = 256

  /// In ascending order of their epochs, without two of one epoch. A later one may begin before an
  /// earlier one does: a second power cut may take more than the first left.
  public private(set) var incarnations: [Incarnation]

  public init(_ incarnations: [Incarnation] = []) { self.incarnations = incarnations }

  public var newest: Incarnation? { incarnations.last }
  public var epoch: UInt64 { newest?.epoch ?? 0 }

  private func index(of identifier: IncarnationIdentifier) -> Int? {
    incarnations.firstIndex { $0.identifier == identifier }
  }

  public func contains(_ identifier: IncarnationIdentifier) -> Bool {
    index(of: identifier) != nil
  }

  /// The incarnation that stamped a record which is there; nil when it is forgotten.
  public func holder(of sequence: SequenceNumber) -> Incarnation? {
    incarnations.last { $0.after.sequence < sequence }
  }

  /// The record, and who stamped it.
  public func ownerMark(of sequence: SequenceNumber) -> JournalState.OwnerMark {
    .init(holder(of: sequence)?.identifier ?? .none, sequence)
  }

  /// The last record of an incarnation when the group's last one is `last`; nil for one that is not
  /// known. Lower than the one that it began after when a later one took its place.
  public func end(
    of identifier: IncarnationIdentifier, last: JournalState.Mark
  ) -> JournalState.Mark? {
    guard let index = index(of: identifier) else { return nil }
    return incarnations[(index + 1)...].map(\.after).reduce(last) {
      $1.sequence < $0.sequence ? $1 : $0
    }
  }

  /// Those with records up to `last`, which is the last that there is.
  public func holding(through last: SequenceNumber) -> Lineage {
    var kept: [Incarnation] = []
    var next = last
    for incarnation in incarnations.reversed() where incarnation.after.sequence < next {
      kept.append(incarnation)
      next = incarnation.after.sequence
    }
    return Lineage(kept.reversed())
  }

  /// Begins an incarnation with the record after `last`.
  ///
  /// - Parameters:
  ///   - term: of the ownership.
  ///   - isEmpty: nothing was stamped by the newest one, which then leaves no trace.
  ///   - floor: the epoch of no incarnation of which something may still be found is higher.
  public mutating func begin(
    after last: JournalState.Mark, term: UInt64, replacingNewest isEmpty: Bool,
    above floor: UInt64 = 0
  ) {
    let epoch = max(self.epoch, floor) + 1
    let parent = isEmpty ? newest?.parent : newest?.identifier
    if isEmpty, !incarnations.isEmpty { incarnations.removeLast() }
    append(
      Incarnation(
        identifier: .random(), parent: parent ?? .none, term: term, epoch: epoch, after: last))
  }

  /// An incarnation of which records are there, or come now. What it is not known to have taken
  /// over is gone.
  public mutating func note(_ incarnation: Incarnation) {
    if contains(incarnation.identifier) { return }
    incarnations.removeAll { $0.epoch >= incarnation.epoch }
    append(incarnation)
  }

  /// The last record is this one's: of what later ones had, nothing is there.
  public mutating func dropLater(than incarnation: Incarnation) {
    incarnations.removeAll { $0.epoch > incarnation.epoch }
  }

  private mutating func append(_ incarnation: Incarnation) {
    incarnations.append(incarnation)
    while incarnations.count > Self.limit {
      // First those of which nothing is left.
      let empty = incarnations.indices.dropLast().first {
        incarnations[$0].after.sequence >= incarnations[$0 + 1].after.sequence
      }
      incarnations.remove(at: empty ?? 0)
    }
  }
}
