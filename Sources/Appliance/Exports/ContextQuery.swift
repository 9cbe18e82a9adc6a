import BlockModel

/// What a client's query for metadata contexts means here. Unknown namespaces and leaves are no
/// error: they select nothing.
enum ContextQuery: Equatable {
  /// `base:allocation`.
  case allocation
  /// `tapline:changed-since:INSTANT`.
  case changedSince(InstantExpression)
  /// Names nothing that could be selected, but lists what could.
  case wildcard([String])
  case unknown

  static let allocationName = "base:allocation"
  static let changedSincePrefix = "tapline:changed-since:"

  init(parsing text: String) {
    switch text {
    case Self.allocationName: self = .allocation
    case "base:": self = .wildcard([Self.allocationName])
    case "tapline:", Self.changedSincePrefix: self = .wildcard([Self.changedSincePrefix])
    default:
      guard text.utf8.starts(with: Self.changedSincePrefix.utf8),
        let leaf = String(text.utf8.dropFirst(Self.changedSincePrefix.utf8.count)),
        let instant = try? InstantExpression(parsing: leaf)
      else {
        self = .unknown
        return
      }
      self = .changedSince(instant)
    }
  }

  var instant: InstantExpression? {
    if case .changedSince(let instant) = self { instant } else { nil }
  }
}
