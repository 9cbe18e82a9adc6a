import Configuration
import Journal

extension Duty {
  init(_ role: GroupRole) {
    switch role {
    case .plain: self = .plain
    case .protected: self = .owning
    case .recovery: self = .following
    }
  }

  /// As configurations and people call it.
  var role: GroupRole {
    switch self {
    case .plain: .plain
    case .owning: .protected
    case .following: .recovery
    }
  }
}
