import Configuration

/// What a group does at this site, here and now: the one thing that code asks which differs by it.
/// The configuration's `role` says what a group is when it is opened.
enum Duty: Sendable {
  /// Serves its disks without a journal.
  case plain
  /// Stamps what clients write: gives the records their order.
  case owning
  /// Takes the records of the owner.
  case following

  init(_ role: GroupRole) {
    switch role {
    case .plain: self = .plain
    case .protected: self = .owning
    case .recovery: self = .following
    }
  }
}
