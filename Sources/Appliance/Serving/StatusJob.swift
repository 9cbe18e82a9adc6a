import BlockModel
import NBDProtocol
import Storage
import Volume

/// A metadata context that a connection's client selected.
struct StatusContext: Sendable {
  let identifier: UInt32
  let source: ContextSource
}

/// A BLOCK_STATUS request that was found valid.
struct StatusQuery {
  /// Runs in a reply for one context at most; a client asks on from where they end.
  private static let runLimit = 4096

  let request: NBDRequest
  let range: ByteRange
  /// Nil: of all contexts.
  let identifiers: [UInt32]?

  var runLimit: Int { request.flags.contains(.requestOne) ? 1 : Self.runLimit }

  func wants(_ context: StatusContext) -> Bool {
    identifiers?.contains(context.identifier) ?? true
  }
}

/// What a BLOCK_STATUS request is answered from. The loop made it; where the base must be asked, a
/// worker runs it.
struct StatusJob: Sendable {
  enum Part: Sendable {
    case allocation(AllocationPlan)
    case changes(ChangePieces, ColdChanges)

    var isUnresolved: Bool {
      switch self {
      case .allocation(let plan): plan.isUnresolved
      case .changes(let pieces, _): pieces.isUnresolved
      }
    }
  }

  let tag: NBDRequestTag
  let headers: NBDHeaderStyle
  let runLimit: Int
  /// By context identifier; at least one.
  let parts: [(identifier: UInt32, part: Part)]
  /// Of the disk; nil when nothing of its allocation is unresolved.
  var lookUp: ColdLookUp?

  /// Whether `run` blocks.
  var needsBase: Bool {
    parts.contains {
      if case .allocation(let plan) = $0.part { plan.needsBase } else { $0.part.isUnresolved }
    }
  }

  /// The reply's bytes.
  func run(base store: DiskStore) throws(VolumeError) -> [UInt8] {
    var reply: [UInt8] = []
    for (index, (identifier, part)) in parts.enumerated() {
      let extents: StatusExtents
      switch part {
      case .allocation(var plan):
        if let lookUp {
          try plan.resolve { (offset, limit) throws(VolumeError) in
            try lookUp.piece(at: offset, limit: limit)
          }
        }
        extents = try plan.extents(base: store, limit: runLimit)
      case .changes(let pieces, let cold): extents = try cold.extents(of: pieces)
      }
      let isLast = index == parts.count - 1
      reply += chunk(extents, identifier, isLast: isLast)
    }
    return reply
  }

  private func chunk(
    _ extents: StatusExtents, _ identifier: UInt32, isLast: Bool
  ) -> [UInt8] {
    var start = extents.start
    let listed = extents.runs.map { run in
      defer { start = run.end }
      return NBDStatusExtent(length: run.end - start, flags: run.status)
    }
    let count = NBDStatusChunk.byteCount(extentCount: listed.count, headers)
    return unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initializedCount in
      guard let memory = buffer.baseAddress else { return }
      unsafe NBDStatusChunk.write(
        listed, context: identifier, to: tag, isLast: isLast, headers,
        at: UnsafeMutableRawPointer(memory))
      initializedCount = count
    }
  }
}
