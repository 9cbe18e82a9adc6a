import BlockModel
import Journal

/// What the sender does with a receiver that says what it has.
///
/// The sender knows where each of its epochs began. A receiver that ends in an older epoch may
/// hold records that the protected site lost at a power cut: they came after the last record that
/// survived there, so they are cut off before the next epoch is sent.
public enum ResumeDecision: Equatable, Sendable {
  /// Stream on from the receiver's end.
  case resume
  /// The receiver must drop what follows this record, then say again what it has.
  case cut(after: SequenceNumber)
  case baseline

  /// - Parameters:
  ///   - epochs: the sender's, oldest first.
  ///   - last: the sender's last record.
  ///   - oldest: the first record that is still in the sender's journal; nil when it is empty.
  public static func decide(
    _ welcome: LinkWelcome, epochs: [JournalState.EpochStart], last: SequenceNumber,
    oldest: SequenceNumber?
  ) -> ResumeDecision {
    if welcome.needsBaseline { return .baseline }
    guard epochs.contains(where: { $0.epoch == welcome.epoch }) else { return .baseline }
    // Not simply the next one: a second power cut may have taken more than the first.
    let next = epochs.filter { $0.epoch > welcome.epoch }.map(\.firstSequence).min()
    let end = next.map { SequenceNumber($0.rawValue - 1) } ?? last
    if welcome.sequence > end {
      // What is applied cannot be cut off any more.
      return welcome.applied > end ? .baseline : .cut(after: end)
    }
    if welcome.sequence < last {
      guard let oldest, welcome.sequence.advanced(by: 1) >= oldest else { return .baseline }
    }
    return .resume
  }
}
