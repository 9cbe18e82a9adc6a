import BlockModel
import Journal

extension Incarnation {
  /// With the same identity for the same number, so that tests can name it.
  public static func numbered(
    _ epoch: UInt64, after sequence: UInt64 = 0, at timestamp: UInt64 = 0
  ) -> Incarnation {
    Incarnation(
      identifier: .numbered(epoch), parent: .numbered(epoch &- 1), epoch: epoch,
      after: .init(SequenceNumber(sequence), Timestamp(rawValue: timestamp)))
  }
}

extension IncarnationIdentifier {
  public static func numbered(_ number: UInt64) -> IncarnationIdentifier {
    IncarnationIdentifier(high: 0x5EED, low: number)
  }
}
