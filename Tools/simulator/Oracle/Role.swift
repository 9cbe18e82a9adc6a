/// A site of a group, by what it does there.
enum Role: Hashable, CustomStringConvertible {
  case `protected`
  /// One of those that receive, counted from 0.
  case recovery(Int)

  var isRecovery: Bool { self != .protected }

  var description: String {
    switch self {
    case .protected: "protected"
    case .recovery(0): "recovery"
    case .recovery(let number): "recovery \(number + 1)"
    }
  }
}
