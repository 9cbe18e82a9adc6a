import BlockModel
import NBDProtocol
import Storage
import SystemIO
import Volume

// BLOCK_STATUS and CACHE: requests about bytes that move none.

extension NBDConnection {
  /// What a status counts for among the bytes of replies under way: its reply is shorter, but many
  /// look-ups in one turn would hold up others as long as a read of so many bytes.
  static var statusWeight: Int { 4 << 20 }

  /// Answers at once from the journal's index, or on a worker when the base must be asked. At the
  /// end of a turn.
  func answer(_ query: StatusQuery) {
    var job = StatusJob(
      tag: query.request.tag, headers: headers, runLimit: query.runLimit,
      parts: contexts.filter(query.wants).map { ($0.identifier, part($0, query)) })
    guard job.needsBase else { return finish(query, job, Self.run(job, reader.store)) }
    if job.parts.contains(where: { $0.part.isUnresolved }) { job.lookUp = coldLookUp() }
    beginWait(bytes: Self.statusWeight)
    let store = reader.store
    workers.submit { [self, job] in
      let result = Self.run(job, store)
      job.lookUp?.release()
      loop.post { [self] in
        if endWait(bytes: Self.statusWeight) {
          finish(query, job, result)
          touch()
        }
      }
    }
  }

  private func part(_ context: StatusContext, _ query: StatusQuery) -> StatusJob.Part {
    switch context.source {
    case .allocation:
      // Where apply has passed a view, neither the journal nor the base tells what it reads there.
      if isViewDetached {
        return .allocation(AllocationPlan(query.range) { ($1, Self.anyData) })
      }
      return .allocation(AllocationPlan(query.range) { piece(at: $0, limit: $1) })
    case .changes(let changes, let border):
      let live: Group? = if case .live(let group) = target { group } else { nil }
      let pieces = ChangePieces(query.range, runLimit: query.runLimit) { offset, limit in
        let (length, isChanged) = changes.piece(disk: disk, at: offset, limit: limit)
        guard let border, let live, !isChanged else { return (length, isChanged) }
        return live.change(disk: disk, at: offset, limit: length, after: border)
      }
      let later = pieces.isUnresolved ? border.flatMap { live?.maps(after: $0) } : nil
      return .changes(pieces, ColdChanges(later: later ?? [], disk: disk))
    }
  }

  /// For a worker, of what the index could not tell at once. To be released.
  func coldLookUp() -> ColdLookUp? {
    switch target {
    case .live(let group): group.coldLookUp(disk)
    case .view(let view, _): ColdLookUp(disk: disk, index: .view(view))
    }
  }

  private static func run(
    _ job: StatusJob, _ store: DiskStore
  ) -> Result<[UInt8], VolumeError> {
    do throws(VolumeError) { return .success(try job.run(base: store)) } catch {
      return .failure(error)
    }
  }

  private var isViewDetached: Bool {
    if case .view(let view, _) = target { view.isDetached } else { false }
  }

  private static var anyData: ExtentSource { ExtentSource(segment: 1, position: 0) }

  private func finish(
    _ query: StatusQuery, _ job: StatusJob, _ result: Result<[UInt8], VolumeError>
  ) {
    // Detached while the base was asked: it is asked no more.
    if job.needsBase, isViewDetached { return answer(query) }
    switch result {
    case .success(let bytes): append(bytes)
    case .failure(let error):
      log("block status at \(job.tag.offset): \(error)")
      reply(job.tag, .io)
    }
  }

  // MARK: CACHE

  private static var prefetchLimit: Int { 4 }
  private static var prefetchBytes: UInt64 { 64 << 20 }

  /// Lets the base read ahead. The reply does not wait for it; what comes too fast, or reaches too
  /// far, is left out, as the specification allows.
  func prefetch(_ request: NBDRequest) {
    reply(request.tag, nil)
    guard prefetchesUnderWay < Self.prefetchLimit else { return }
    prefetchesUnderWay += 1
    let store = reader.store
    let range = ByteRange(
      start: request.offset, length: min(request.length, Self.prefetchBytes))
    workers.submit { [self] in
      store.prefetch(range)
      loop.post { [self] in prefetchesUnderWay -= 1 }
    }
  }
}
