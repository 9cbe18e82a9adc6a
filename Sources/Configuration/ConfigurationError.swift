/// Why a configuration was refused, and where.
public struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The path as it was given.
  public var file: String
  /// Counted from 1; nil when the file as a whole is at fault, for example because it is missing.
  public var line: Int?
  /// Counted from 1.
  public var column: Int?
  /// One sentence without a full stop.
  public var reason: String

  public init(file: String, line: Int? = nil, column: Int? = nil, reason: String) {
    self.file = file
    self.line = line
    self.column = column
    self.reason = reason
  }

  /// `FILE:LINE: reason`, or `FILE: reason` without a line.
  public var description: String {
    line.map { "\(file):\($0): \(reason)" } ?? "\(file): \(reason)"
  }
}

/// Why a text is no address. The reason is one sentence without a full stop.
public struct AddressSyntaxError: Error, Equatable, Sendable, CustomStringConvertible {
  public var reason: String

  public init(_ reason: String) { self.reason = reason }

  public var description: String { reason }
}
