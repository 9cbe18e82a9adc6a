import Configuration
import Synchronization

/// Who may open the disks of a group, and of its branches. Any thread.
final class AccessRules: Sendable {
  private let rules: Mutex<[DiskConfiguration]>

  init(_ rules: [DiskConfiguration]) { self.rules = Mutex(rules) }

  var present: [DiskConfiguration] { rules.withLock { $0 } }

  /// For those who ask from now on.
  func change(to rules: [DiskConfiguration]) { self.rules.withLock { $0 = rules } }
}
