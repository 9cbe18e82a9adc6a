/// What the fuzzer drives: production code that reads bytes from a wire or a disk; but for `group`
/// without the wire and the disk.
public enum FuzzTarget: String, CaseIterable, Sendable {
  /// The NBD handshake, and the transmission phase when it gets there.
  case handshake
  /// The transmission phase: requests in, replies out.
  case transmission
  /// What the sites tell each other, and a receiver's journal.
  case link
  /// Recovery of a journal folder: segments, sidecars, the state file.
  case journal
  /// Whole connections of several clients, and a whole group behind them.
  case group

  /// Runs one input, which may be any bytes. The same input does the same each time.
  ///
  /// - Throws: when something does not hold that must hold for every input. Production code that
  ///   traps, loops or allocates without bound is the caller's to notice.
  public func run(_ input: [UInt8]) throws(FuzzViolation) {
    switch self {
    case .handshake: try HandshakeTarget.run(input)
    case .transmission: try TransmissionTarget.run(input)
    case .link: try LinkTarget.run(input)
    case .journal: try JournalTarget.run(input)
    case .group: try GroupTarget.run(input)
    }
  }
}

/// Something that must hold for every input, and did not for this one.
public struct FuzzViolation: Error, Equatable, CustomStringConvertible {
  public let description: String

  init(_ description: String) { self.description = description }
}

func require(
  _ condition: Bool, _ what: @autoclosure () -> String
) throws(FuzzViolation) {
  if !condition { throw FuzzViolation(what()) }
}

/// The value of what cannot fail for any input.
func mustSucceed<Value, Failure: Error>(
  _ what: String, _ body: () throws(Failure) -> Value
) throws(FuzzViolation) -> Value {
  do throws(Failure) { return try body() } catch { throw FuzzViolation("\(what): \(error)") }
}
