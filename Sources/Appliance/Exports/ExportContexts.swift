import BlockModel
import Volume

/// What a client can be told about the bytes of an export: a context.
enum ContextSource: Sendable {
  /// `base:allocation`.
  case allocation
  /// `tapline:changed-since:…`; with a border (of a live disk), also everything after it.
  case changes(ChangedBlocks, border: SequenceNumber?)

  var isAllocation: Bool { if case .allocation = self { true } else { false } }
}

/// The contexts that a client wants to have, each once.
struct ContextQueries: Sendable {
  let names: [String]
  fileprivate let queries: [ContextQuery]

  init(_ texts: [String]) {
    names = texts.distinct
    queries = names.map(ContextQuery.init(parsing:))
  }

  fileprivate var instants: [InstantExpression] { queries.compactMap(\.instant) }
  fileprivate var hasAllocation: Bool { queries.contains(.allocation) }

  /// Of those that an export can have.
  var count: Int { instants.count + (hasAllocation ? 1 : 0) }
}

/// What stands behind the contexts that a client has selected.
struct SelectedContexts: Sendable {
  let exportName: String
  let sources: [(name: String, source: ContextSource)]
  /// Nil when no context needs the history.
  let opened: OpenedChanges?

  subscript(name: String) -> ContextSource? { sources.first { $0.name == name }?.source }

  /// Any thread. After nothing of this is used any more.
  func release() { opened?.release() }
}

extension Export {
  /// Which contexts could be selected, of those that the client asks about. Any thread;
  /// `completion` is called on `loop`.
  ///
  /// - Parameter asked: none: about all.
  func listContexts(
    _ asked: [String], answeringOn loop: EventLoop,
    _ completion: @escaping @Sendable ([String]) -> Void
  ) {
    let all = asked.isEmpty ? ["base:", "tapline:"] : asked
    let queries = all.map { ($0, ContextQuery(parsing: $0)) }
    let expressions = queries.compactMap(\.1.instant)
    group.loop.post { [self] in
      if let branch = group.branch {
        return group.findInstants(of: branch, expressions, disk.number) { instants in
          let names = names(of: queries, instants)
          loop.post { completion(names) }
        }
      }
      group.findInstants(expressions) { instants in
        let names = names(of: queries, instants.map { $0.flatMap(shown) })
        loop.post { completion(names) }
      }
    }
  }

  /// Nil: the disk was not there yet, and what has changed since is not known.
  private func shown(_ instant: Timestamp) -> Timestamp? {
    group.disks(at: instant).contains { $0.number == disk.number } ? instant : nil
  }

  /// - Parameter instants: those that the queries name; nil for one that is not in the history.
  private func names(
    of queries: [(String, ContextQuery)], _ instants: [Timestamp?]
  ) -> [String] {
    var remaining = instants[...]
    let names = queries.flatMap { text, query -> [String] in
      switch query {
      case .allocation: [text]
      case .changedSince: remaining.removeFirst() == nil ? [] : [text]
      case .wildcard(let names):
        group.journal == nil ? names.filter { $0 == ContextQuery.allocationName } : names
      case .unknown: []
      }
    }
    return names.distinct
  }

  /// Finds what stands behind the contexts; those that the export does not have are left out. Any
  /// thread; `completion` is called on `loop`, and who gets the contexts releases them.
  func selectContexts(
    _ asked: ContextQueries, answeringOn loop: EventLoop,
    _ completion: @escaping @Sendable (Result<SelectedContexts, ExportRefusal>) -> Void
  ) {
    let (name, instants) = (name, asked.instants)
    guard !instants.isEmpty, group.journal != nil else {
      let all = [(name: ContextQuery.allocationName, source: ContextSource.allocation)]
      let selected = SelectedContexts(
        exportName: name, sources: asked.hasAllocation ? all : [], opened: nil)
      return loop.post { completion(.success(selected)) }
    }
    group.loop.post { [self] in
      group.openChanges(since: instants, upTo: instant, of: disk, permitted: permitted) { result in
        let selected = result.map { SelectedContexts(exportName: name, asked, $0) }
        loop.post { completion(selected) }
      }
    }
  }
}

extension SelectedContexts {
  /// What was opened and stands behind none of the contexts is released.
  fileprivate init(exportName: String, _ asked: ContextQueries, _ opened: OpenedChanges) {
    var changes = opened.changes[...]
    sources = zip(asked.names, asked.queries).compactMap { pair -> (String, ContextSource)? in
      let (name, query) = pair
      return switch query {
      case .allocation: (name, .allocation)
      case .changedSince:
        changes.removeFirst().map { (name, .changes($0, border: opened.border)) }
      case .wildcard, .unknown: nil
      }
    }
    self.exportName = exportName
    let isNeeded = opened.view != nil || opened.changes.contains { $0 != nil }
    if !isNeeded { opened.release() }
    self.opened = isNeeded ? opened : nil
  }
}

extension [String] {
  fileprivate var distinct: [String] {
    var seen = Set<String>()
    return filter { seen.insert($0).inserted }
  }
}
