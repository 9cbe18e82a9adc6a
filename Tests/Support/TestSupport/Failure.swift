/// What went wrong in the machinery of a test: a tool missing, a wait that ran out, a dead child.
public struct RigError: Error, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
