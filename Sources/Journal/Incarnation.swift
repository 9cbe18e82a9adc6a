import BlockModel
import SystemIO

/// Names one incarnation for ever: 128 random bits.
public struct IncarnationIdentifier: Hashable, Sendable, CustomStringConvertible {
  public let high: UInt64
  public let low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Of nothing: the parent of a group's first incarnation.
  public static let none = IncarnationIdentifier(high: 0, low: 0)

  public static func random() -> IncarnationIdentifier {
    var generator = SystemEntropy()
    return IncarnationIdentifier(high: generator.next(), low: generator.next())
  }

  /// 32 hexadecimal digits.
  public var description: String { GroupIdentifier(high: high, low: low).description }
}

/// One uninterrupted stretch of stamping by one process at one site.
///
/// Its identity is drawn at every start of an owner, after a clean stop too: the machine may have
/// been put back to an older snapshot, or be a clone of another that goes on as well. Records that
/// were stamped apart from each other are then never taken for each other, whatever their numbers.
public struct Incarnation: Hashable, Sendable {
  public static let byteCount = 64

  public let identifier: IncarnationIdentifier
  /// The one that it goes on from; `.none` for a group's first.
  public let parent: IncarnationIdentifier
  /// Number of the ownership.
  public let term: UInt64
  /// Place in the order of one lineage. Says nothing about two lineages: each counts for itself.
  public let epoch: UInt64
  /// The last record that it took over; its own begin with the next number.
  public let after: JournalState.Mark

  public init(
    identifier: IncarnationIdentifier, parent: IncarnationIdentifier = .none, term: UInt64 = 1,
    epoch: UInt64, after: JournalState.Mark
  ) {
    self.identifier = identifier
    self.parent = parent
    self.term = term
    self.epoch = epoch
    self.after = after
  }
}

extension WireEncoder {
  public mutating func put(_ identifier: IncarnationIdentifier) {
    put(identifier.high)
    put(identifier.low)
  }

  public mutating func put(_ mark: JournalState.OwnerMark) {
    put(mark.incarnation)
    put(mark.sequence.rawValue)
  }

  /// `Incarnation.byteCount` bytes.
  public mutating func put(_ incarnation: Incarnation) {
    put(incarnation.identifier)
    put(incarnation.parent)
    put(incarnation.term)
    put(incarnation.epoch)
    put(incarnation.after.sequence.rawValue)
    put(incarnation.after.timestamp.rawValue)
  }

  /// Oldest first, behind their number (16 bits).
  public mutating func put(_ lineage: Lineage) {
    put(UInt16(lineage.incarnations.count))
    for incarnation in lineage.incarnations { put(incarnation) }
  }
}

extension WireDecoder {
  public mutating func takeIdentifier() throws(Failure) -> IncarnationIdentifier {
    IncarnationIdentifier(high: try take(), low: try take())
  }

  public mutating func takeOwnerMark() throws(Failure) -> JournalState.OwnerMark {
    .init(try takeIdentifier(), SequenceNumber(try take()))
  }

  public mutating func takeIncarnation() throws(Failure) -> Incarnation {
    let (identifier, parent) = (try takeIdentifier(), try takeIdentifier())
    let (term, epoch) = (try take(UInt64.self), try take(UInt64.self))
    // There is always a next one.
    guard epoch < .max, term < Ownership.termLimit else { throw .tooShort }
    return Incarnation(
      identifier: identifier, parent: parent, term: term, epoch: epoch,
      after: .init(SequenceNumber(try take()), Timestamp(rawValue: try take())))
  }

  /// Throws also when they are more than a lineage keeps or not in ascending order.
  public mutating func takeLineage() throws(Failure) -> Lineage {
    let count = try take(UInt16.self)
    guard count <= Lineage.limit else { throw .tooShort }
    var incarnations: [Incarnation] = []
    for _ in 0..<count {
      let next = try takeIncarnation()
      if let last = incarnations.last, next.epoch <= last.epoch { throw .tooShort }
      incarnations.append(next)
    }
    return Lineage(incarnations)
  }
}
