import Testing

@testable import Appliance

/// Proves when a FLUSH is expected: only after the same number of writes has come before each of
/// the last ones, and no more after the pattern broke.
@Suite struct FlushPatternTests {
  /// `w` is a turn of writes, `f` a FLUSH.
  private func expectsFlush(after events: String) -> Bool {
    var pattern = FlushPattern()
    for event in events {
      if event == "w" { pattern.wrote() } else { pattern.flushed() }
    }
    return pattern.expectsFlush
  }

  @Test(arguments: [
    ("w", false),
    ("wfwfwfwfw", false),
    ("wfwfwfwfwfw", true),
    ("wfwfwfwfwfww", false),
    ("wwfwwfwwfwwfwwfw", false),
    ("wwfwwfwwfwwfwwfww", true),
    ("wfwfwfwfwfwwfw", false),
    ("wfwfwfwfwfwwfwfwfwfwfw", false),
    ("wfwfwfwfwfwwfwfwfwfwfwfw", true),
    ("ffffffffff", false),
    ("wfwfwfwfwff", false),
  ])
  func `expects a FLUSH only when the pattern has repeated`(events: String, expected: Bool) {
    #expect(expectsFlush(after: events) == expected)
  }
}
