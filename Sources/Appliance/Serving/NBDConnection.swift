import BlockModel
import Configuration
import Handover
import Journal
import NBDProtocol
import Storage
import SystemIO
import TLS
import Volume

/// One client in the transmission phase, on the loop of its group (or of views).
///
/// A turn: `ready` receives once and executes what is whole. Writes are staged with the group;
/// reads and replies wait for the end of the turn, when the group has committed the batch: then
/// `finishTurn` reads, and one send carries all replies. Confined to its loop's thread.
final class NBDConnection: GroupClient, @unchecked Sendable {
  /// What the export stands for.
  enum Target {
    case live(Group)
    case view(SiteView, release: () -> Void)
  }

  /// What is left of the request that was parsed last.
  private enum Body {
    case none
    /// Payload that goes to the journal.
    case write
    /// A range that becomes zeros, in one record or more.
    case zero(RecordKind)
    /// Payload that says which contexts are asked for.
    case filter
  }

  private static let inputByteCount = 2 << 20
  /// Bytes that wait for the client beyond which no more replies are made.
  private static let unsentLimit = 256 << 10
  /// Replies to reads that are made in one turn; then others have theirs.
  private static let turnReplyBytes = 8 << 20
  /// Reads and statuses that workers have of one client: more would keep the others' syncs waiting.
  private static let jobLimit = 16
  /// Of a long read, so much of the base is read at a time: zeros are found in pieces of it.
  private static let basePieceBytes: UInt64 = 128 << 10
  /// Records that one request may become in one turn before others have theirs.
  private static let zeroRecordsInTurn = 64

  private let transport: Transport
  /// Held for as long as anything of the connection is left.
  private let place: ClientAdmission.Place
  private let clientLimits: ClientLimits
  let loop: EventLoop
  let target: Target
  let reader: SiteReader
  let workers: WorkerPool
  private let session: NBDSession
  let headers: NBDHeaderStyle
  let contexts: [StatusContext]
  /// Called once when the connection ends.
  private let onClose: (NBDConnection) -> Void
  let log: (String) -> Void

  private var input: InputBuffer
  private var output = OutputBuffer(byteCount: NBDConnection.unsentLimit)
  private var requests: NBDRequestStream
  /// Answered once the group has committed, as the client takes the replies.
  private var reads = Queue<NBDRequest>()
  private var statuses = Queue<StatusQuery>()

  private var body = Body.none
  private var bodyRequest = NBDRequest(command: 0, cookie: 0, offset: 0, length: 0)
  private var bodyIsFirstPiece = false
  private var bodyOffset: UInt64 = 0
  private var bodyRemaining = 0
  /// The body in hand, where workers change the disk.
  private var change: PlainChange?
  /// The disk is changed without a journal, by calls that may not return for long.
  private let changesOnWorkers: Bool

  private var interest: Poller.Interest = .readable
  /// Replies that workers prepare, and about how many bytes they have.
  private var jobsUnderWay = 0
  private var bytesUnderWay = 0
  /// Requests whose reply comes later: reads on workers, waits for durability.
  private var pendingReplies = 0
  private var waitsForRoom = false
  /// As many pieces of changes as may be are with workers.
  private var waitsForWorkers = false
  /// A request in hand goes on in the next turn, so that others have theirs.
  private var givesWay = false
  private var isResuming = false
  /// Had no turn since `giveBackIdleMemory`.
  private var isIdle = false
  private var recordsInTurn = 0
  var prefetchesUnderWay = 0
  private var isEnding = false
  private var isPaused = false
  /// Another process goes on with the socket.
  private var isHandedOver = false
  private(set) var isClosed = false

  init(
    _ client: EnteringClient, loop: EventLoop, target: Target, disk: DiskNumber,
    reader: SiteReader, workers: WorkerPool, limits: ClientLimits,
    onClose: @escaping (NBDConnection) -> Void, log: @escaping (String) -> Void
  ) {
    transport = client.transport
    place = client.place
    session = client.session
    headers = client.session.headers
    contexts = client.contexts
    requests = NBDRequestStream(NBDExportLimits(client.session))
    clientLimits = limits
    self.loop = loop
    self.target = target
    if case .live(let group) = target, group.journal == nil {
      changesOnWorkers = reader.store.mayHang
    } else {
      changesOnWorkers = false
    }
    self.reader = reader
    self.workers = workers
    self.onClose = onClose
    self.log = log
    input = InputBuffer(
      byteCount: max(Self.inputByteCount, client.leftover.count),
      headroom: RecordHeader.byteCount)
    super.init(of: disk)
    input.append(client.leftover)
    if let state = client.handed { restore(state) }
  }

  /// Starts to serve. On the loop.
  func begin() {
    guard watch() else { return }
    if case .live(let group) = target { group.add(self) }
    process()
  }

  private func watch() -> Bool {
    interest = .readable
    do throws(Errno) {
      try loop.add(self, transport.socket, interest)
      return true
    } catch {
      log("cannot watch a connection: \(error)")
      close()
      return false
    }
  }

  override func ready(_ ready: Poller.Interest) {
    if ready.contains(.writable) { touch() }
    if isClosed || isPaused || ready.isDisjoint(with: [.readable, .closed]) { return }
    // Another connection's turn may have made room for requests of this one.
    commitLent()
    if isClosed { return }
    let wanted =
      if case .write = body { min(bodyRemaining, RecordHeader.payloadLimit) } else { 4096 }
    do throws(Errno) {
      guard let count = try input.receive(from: transport, wanted: wanted) else { return }
      if count == 0 { return close() }
    } catch {
      return close()
    }
    process()
  }

  // MARK: Requests

  /// Executes every whole request that has arrived, then sees to it that the turn is finished.
  private func process() {
    while !isClosed, !waitsForRoom, !isEnding, !isPaused {
      let progressed: Bool
      switch body {
      case .none: progressed = takeRequest()
      case .write: progressed = takePayload()
      case .zero(let kind): progressed = stageZeros(kind)
      case .filter: progressed = takeFilter()
      }
      if !progressed { break }
    }
    touch()
  }

  func touch() {
    if isClosed { return }
    switch target {
    case .live(let group): group.touch(self)
    case .view: finishTurn()
    }
  }

  private func takeRequest() -> Bool {
    if !mayTakeRequests, !requests.isDraining { return false }
    let (consumed, step) = unsafe requests.next(input.unread)
    input.consume(consumed)
    switch step {
    case .wait: return false
    case .execute(let operation, let request): execute(operation, request)
    case .refuse(let tag, let error, let text): reply(tag, error, text)
    case .disconnect(.requested): isEnding = true
    case .disconnect(.notARequest):
      log("a client sent something that is not a request; its connection is closed")
      close()
    case .disconnect(.payloadTooLarge(let byteCount)):
      log("a client announced \(byteCount) bytes of payload; its connection is closed")
      close()
    }
    return true
  }

  @inline(__always)
  private func execute(_ operation: NBDOperation, _ request: NBDRequest) {
    switch operation {
    case .read:
      reads.append(request)
    case .write:
      begin(.write, request, byteCount: request.length)
    case .trim:
      begin(.zero(.trim), request, byteCount: request.length)
    case .writeZeroes:
      let keepsSpace = request.flags.contains(.noHole)
      begin(.zero(keepsSpace ? .zero : .trim), request, byteCount: request.length)
    case .flush:
      if case .live(let group) = target {
        #if MUTANTS
          if Mutant.acknowledgeFlushEarly.isOn { return reply(request.tag, nil) }
        #endif
        waitForSync(group, group.stamped, request.tag)
      } else {
        reply(request.tag, nil)
      }
    case .cache:
      prefetch(request)
    case .blockStatus:
      queue(request, length: request.length, identifiers: nil)
    case .filteredBlockStatus:
      begin(.filter, request, byteCount: request.length)
    }
  }

  /// - Parameter byteCount: validated to fit.
  @inline(__always)
  private func begin(_ body: Body, _ request: NBDRequest, byteCount: UInt64) {
    self.body = body
    bodyRequest = request
    bodyIsFirstPiece = true
    bodyOffset = request.offset
    bodyRemaining = Int(byteCount)
  }

  /// Stages the next piece of a write's payload once it has arrived whole. A write up to the
  /// record limit is one record, so a view never shows half of it.
  private func takePayload() -> Bool {
    guard case .live(let group) = target else { preconditionFailure("a view is read-only") }
    if group.isFenced { return refuseFenced() }
    let piece = min(bodyRemaining, group.payloadLimit)
    guard input.count >= piece else { return false }
    if changesOnWorkers { return changeDisk(.write, piece, payloadBytes: piece) }
    guard group.hasRoom(payloadByteCount: piece) else { return waitForRoom(group) }
    return stage(.write, piece, group, payloadBytes: piece)
  }

  /// Stages the next piece of a TRIM or WRITE_ZEROES.
  private func stageZeros(_ kind: RecordKind) -> Bool {
    guard case .live(let group) = target else { preconditionFailure("a view is read-only") }
    if group.isFenced { return refuseFenced() }
    guard group.hasRoom(payloadByteCount: 0) else { return waitForRoom(group) }
    let piece = min(bodyRemaining, group.zeroLimit)
    if changesOnWorkers { return changeDisk(kind, piece, payloadBytes: 0) }
    if bodyRemaining > piece, recordsInTurn >= Self.zeroRecordsInTurn { return continueLater() }
    return stage(kind, piece, group, payloadBytes: 0)
  }

  /// Stages the next record of the request in hand. Its header goes into the 28 bytes before
  /// `input.first`, which are consumed.
  @inline(__always)
  private func stage(
    _ kind: RecordKind, _ length: Int, _ group: Group, payloadBytes: Int
  ) -> Bool {
    // Those bytes may belong to the piece before, which is staged already.
    if !bodyIsFirstPiece, !group.commit() { return false }
    input.lend()
    let sequence = unsafe group.stage(
      kind, disk: disk, offset: bodyOffset, length: UInt32(length),
      record: input.first - RecordHeader.byteCount)
    input.consume(payloadBytes)
    recordsInTurn &+= 1
    bodyIsFirstPiece = false
    bodyOffset += UInt64(length)
    bodyRemaining -= length
    if group.journal == nil, let failure = group.plain.ofRequest {
      group.plain.ofRequest = nil
      refuseRest(failure)
    } else if bodyRemaining == 0 {
      body = .none
      finishWrite(group, sequence)
    }
    return true
  }

  /// The store of a plain group has failed the request in hand: what is to come of its payload is
  /// thrown away, then the client is told.
  private func refuseRest(_ failure: StorageError) {
    refuseRest(NBDError(failure), NBDError.text(failure))
  }

  private func refuseRest(_ error: NBDError, _ text: NBDErrorText) {
    let rest = if case .write = body { bodyRemaining } else { 0 }
    body = .none
    requests.refusal = .init(tag: bodyRequest.tag, error: error, text: text, remainingBytes: rest)
  }

  /// Another site owns the group.
  private func refuseFenced() -> Bool {
    refuseRest(.notPermitted, "another site owns this disk now; the site's log says which")
    return true
  }

  /// Gives the next piece of the request in hand to a worker; false when too many are under way.
  private func changeDisk(_ kind: RecordKind, _ length: Int, payloadBytes: Int) -> Bool {
    guard hasByteRoom, jobsUnderWay < Self.jobLimit else {
      waitsForWorkers = true
      return false
    }
    let change = self.change ?? PlainChange(bodyRequest)
    let isLast = length == bodyRemaining
    unsafe changeOnWorker(
      kind, ByteRange(start: bodyOffset, length: UInt64(length)),
      UnsafeRawBufferPointer(rebasing: input.unread.prefix(payloadBytes)), of: change,
      isLast: isLast)
    input.consume(payloadBytes)
    bodyIsFirstPiece = false
    bodyOffset += UInt64(length)
    bodyRemaining -= length
    self.change = isLast ? nil : change
    if isLast { body = .none }
    return true
  }

  /// A worker has finished a piece.
  func workerCame() {
    waitsForWorkers = false
    process()
  }

  /// Replies once everything up to `sequence` is durable.
  func waitForSync(_ group: Group, _ sequence: SequenceNumber, _ tag: NBDRequestTag) {
    if tellsOwedFailure(tag) || tellsOfLoss(group, tag) { return }
    pendingReplies += 1
    group.wait(for: sequence, self, tag)
  }

  /// A staged write's reply leaves at the end of the turn, after the commit; with FUA, after the
  /// sync that covers it.
  @inline(__always)
  private func finishWrite(_ group: Group, _ sequence: SequenceNumber) {
    #if MUTANTS
      if Mutant.acknowledgeFUAEarly.isOn { return reply(bodyRequest.tag, nil) }
    #endif
    if bodyRequest.isFUA {
      waitForSync(group, sequence, bodyRequest.tag)
    } else {
      reply(bodyRequest.tag, nil)
      #if MUTANTS
        if Mutant.acknowledgeWriteEarly.isOn { flush() }
      #endif
    }
  }

  /// Ends the turn for now; the request in hand goes on in the next.
  private func continueLater() -> Bool {
    givesWay = true
    return false
  }

  /// Takes the payload of a BLOCK_STATUS once it has arrived whole.
  private func takeFilter() -> Bool {
    guard input.count >= bodyRemaining else { return false }
    let payload = unsafe [UInt8](input.unread.prefix(bodyRemaining))
    input.consume(bodyRemaining)
    body = .none
    if let filter = NBDStatusFilter(parsing: payload, of: bodyRequest, in: session) {
      queue(bodyRequest, length: filter.length, identifiers: filter.identifiers)
    } else {
      reply(bodyRequest.tag, .invalid, "a payload that names no contexts")
    }
    return true
  }

  private func queue(_ request: NBDRequest, length: UInt64, identifiers: [UInt32]?) {
    let range = ByteRange(start: request.offset, length: length)
    statuses.append(StatusQuery(request: request, range: range, identifiers: identifiers))
  }

  private func waitForRoom(_ group: Group) -> Bool {
    waitsForRoom = true
    group.waitForRoom(self)
    return false
  }

  /// The journal has room again.
  override func roomCame() {
    guard waitsForRoom, !isClosed else { return }
    waitsForRoom = false
    process()
  }

  // MARK: Limits

  private var queuedCount: Int { reads.count &+ statuses.count }

  private var hasByteRoom: Bool {
    output.pendingByteCount &+ bytesUnderWay < clientLimits.bytes
  }

  private var mayTakeRequests: Bool {
    hasByteRoom && queuedCount &+ pendingReplies < clientLimits.requests
  }

  /// A client that does not take its replies gets no more made: reads that wait cost nothing.
  private var mayMakeReplies: Bool {
    hasByteRoom && output.pendingByteCount < Self.unsentLimit && jobsUnderWay < Self.jobLimit
  }

  /// There is something to do without anything that arrives or comes back from a worker.
  private var canContinue: Bool {
    if isPaused { return queuedCount > 0 && mayMakeReplies }
    if givesWay || (queuedCount > 0 && mayMakeReplies) { return true }
    guard case .none = body, !waitsForRoom, !isEnding, !isPaused, mayTakeRequests else {
      return false
    }
    return input.count >= NBDRequest.byteCount(headers)
  }

  private func resumeNextTurn() {
    if isResuming { return }
    isResuming = true
    loop.resume(self)
  }

  override func resumed() {
    isResuming = false
    givesWay = false
    // Not in a turn that has received already: what is staged still lies in the buffer. The end of
    // that turn comes here again.
    if interest.contains(.readable), transport.hasBufferedInput, !isTouched,
      !isPaused
    {
      ready(.readable)
    } else {
      process()
    }
  }

  /// Called about once a second, between turns.
  override func giveBackIdleMemory() {
    if isIdle, !isTouched {
      input.giveBack()
      output.giveBack()
    }
    isIdle = true
  }

  /// One request waits, for durability, and nothing else has arrived.
  override var waitsForSyncOnly: Bool {
    pendingReplies == 1 && bytesUnderWay == 0 && queuedCount == 0 && input.count == 0
      && output.pendingByteCount == 0
  }

  // MARK: Replies

  @inline(__always)
  func reply(_ tag: NBDRequestTag, _ error: NBDError?, _ text: NBDErrorText? = nil) {
    let memory = unsafe output.reserve(NBDReply.maximumByteCount)
    output.commit(unsafe NBDReply(tag, error: error, text: text).write(to: memory, headers))
  }

  func append(_ bytes: [UInt8]) { output.append(bytes) }

  /// The reply to a request that had to wait. On the loop; the caller touches the connection.
  override func completeWait(_ tag: NBDRequestTag, _ failure: StorageError? = nil) {
    pendingReplies -= 1
    if isClosed { return }
    reply(tag, failure.map { NBDError($0) }, failure.map { NBDError.text($0) })
    touch()
  }

  /// A worker prepares a reply of about so many bytes.
  func beginWait(bytes: Int) {
    pendingReplies += 1
    jobsUnderWay += 1
    bytesUnderWay += bytes
  }

  /// False when nobody wants the reply any more.
  func endWait(bytes: Int) -> Bool {
    pendingReplies -= 1
    jobsUnderWay -= 1
    bytesUnderWay -= bytes
    return !isClosed
  }

  /// Called once a turn, after the group's commit.
  override func finishTurn() {
    isTouched = false
    commitLent()
    if isClosed { return }
    isIdle = false
    recordsInTurn = 0
    if queuedCount > 0 { answerQueued() }
    if !isClosed { send() }
  }

  /// Makes replies for as long as the client takes them. Statuses have half of the turn, reads what
  /// is left.
  private func answerQueued() {
    var room = Self.turnReplyBytes
    while room > Self.turnReplyBytes / 2, mayMakeReplies, let query = statuses.popFirst() {
      answer(query)
      room -= Self.statusWeight
    }
    while room > 0, !isClosed, mayMakeReplies, let read = reads.popFirst() {
      answer(read)
      room -= Int(read.length)
      if output.pendingByteCount >= Self.unsentLimit { flush() }
    }
  }

  /// Sends what the socket takes now.
  private func flush() {
    do throws(Errno) { _ = try output.send(on: transport) } catch { close() }
  }

  private func send() {
    flush()
    if isClosed { return }
    if isEnding, pendingReplies == 0, queuedCount == 0, output.pendingByteCount == 0 {
      return close()
    }
    updateInterest()
    // TLS holds bytes of which the poller does not know.
    let hasInput =
      interest.contains(.readable) && !isPaused && transport.hasBufferedInput
    if hasInput || canContinue { resumeNextTurn() }
  }

  private func updateInterest() {
    var wanted: Poller.Interest = []
    let isWaiting = waitsForRoom || waitsForWorkers || givesWay
    if !isEnding, !isWaiting, mayTakeRequests { wanted.insert(.readable) }
    if output.pendingByteCount > 0 { wanted.insert(.writable) }
    if wanted != interest {
      interest = wanted
      loop.setInterest(self, transport.socket, wanted)
    }
  }

  // MARK: Reads

  /// Where the journal has the bytes at `offset`. Of a view, what is saved for it comes before.
  @inline(__always)
  func piece(at offset: UInt64, limit: UInt64) -> (length: UInt64, source: ExtentSource?) {
    switch target {
    case .live(let group): group.piece(disk: disk, at: offset, limit: limit)
    case .view(let view, _): view.piece(disk: disk, at: offset, limit: limit)
    }
  }

  /// Reads straight into the output when all bytes are in memory; otherwise a worker reads.
  private func answer(_ request: NBDRequest) {
    let memory = unsafe output.reserve(NBDReadReply.capacity(length: Int(request.length)))
    var reply = unsafe NBDReadReply(to: request, headers, in: memory)
    var offset = request.offset
    do throws(VolumeError) {
      while offset < request.offset + request.length {
        let rest = request.offset + request.length - offset
        guard let length = try appendIfCached(at: offset, limit: rest, to: &reply) else {
          return readOnWorker(request)
        }
        offset += length
      }
      output.commit(reply.finish())
    } catch {
      if hasLostView(error) { return close() }
      log("read at \(offset): \(error)")
      output.commit(reply.fail(.io, from: offset))
    }
  }

  /// Appends the next bytes and returns how many; nil, with the reply undefined, when the disk must
  /// be waited for.
  @inline(__always)
  private func appendIfCached(
    at offset: UInt64, limit: UInt64, to reply: inout NBDReadReply
  ) throws(VolumeError) -> UInt64? {
    if case .view(let view, _) = target {
      let length = min(limit, Self.basePieceBytes)
      let isCached = try unsafe view.readIfCached(
        disk: disk, at: offset, into: reply.appendData(Int(length)))
      reply.foldZeros(isCached ? Int(length) : 0)
      return isCached ? length : nil
    }
    var (length, source) = piece(at: offset, limit: limit)
    if source == nil { length = min(length, Self.basePieceBytes) }
    if let source, source.isZeros {
      reply.appendZeros(Int(length))
      return length
    }
    let isCached = try unsafe reader.readIfCached(
      source, at: offset, into: reply.appendData(Int(length)))
    guard isCached else { return nil }
    // What nobody ever wrote may be zeros, and a hole is sent without its bytes.
    if source == nil { reply.foldZeros(Int(length)) }
    return length
  }

  /// The group says in the log why; the client must not take an error of one read for the end.
  private func hasLostView(_ error: VolumeError) -> Bool {
    if case .viewLost = error { true } else { false }
  }

  private func readOnWorker(_ request: NBDRequest) {
    let job = ReadJob(request: request, headers: headers, source: jobSource(request))
    beginWait(bytes: Int(request.length))
    workers.submit { [self] in
      let reply = job.run()
      loop.post { [self] in readFinished(request, reply) }
    }
  }

  private func jobSource(_ request: NBDRequest) -> ReadJob.Source {
    if case .view(let view, _) = target { return .view(view, disk) }
    let plan = ReadPlan(ByteRange(start: request.offset, length: request.length)) {
      piece(at: $0, limit: $1)
    }
    let pinned = plan.segments.compactMap { reader.catalog?.pinned($0) }
    return .live(plan, reader, pinned: pinned, plan.isUnresolved ? coldLookUp() : nil)
  }

  private func readFinished(_ request: NBDRequest, _ reply: ReadJob.Reply) {
    guard endWait(bytes: Int(request.length)) else { return }
    if let failure = reply.failure {
      if hasLostView(failure) { return close() }
      log("read at \(request.offset): \(failure)")
    }
    let memory = unsafe output.reserve(reply.byteCount)
    unsafe memory.copyMemory(from: reply.memory.base, byteCount: reply.byteCount)
    output.commit(reply.byteCount)
    touch()
  }

  // MARK: To another process

  var exportName: String { session.export.name }

  /// From here on nothing is received and no request begun, until `resume`. Those that were begun
  /// are finished, but for the one in hand, which stays where it is.
  override func pause() {
    if isPaused || isClosed { return }
    isPaused = true
    loop.remove(self, transport.socket)
  }

  override func resume() {
    guard isPaused, !isClosed else { return }
    isPaused = false
    isHandedOver = false
    if watch() { process() }
  }

  /// Nothing is under way: all replies are sent or wait to be sent, or the client does not take
  /// them.
  override var isAtRest: Bool {
    isClosed || (isPaused && pendingReplies == 0 && (queuedCount == 0 || !mayMakeReplies))
  }

  /// What another process needs to go on with the socket, which this one does not shut down any
  /// more. Nil when none can: TLS keeps its state elsewhere, changed blocks are found once, and
  /// the other process would not know of a failure that the client must be told.
  ///
  /// - Precondition: `isAtRest`.
  override func handOver(group: String, disk: String) -> HandedConnection? {
    precondition(isAtRest, "a connection is handed over with requests under way")
    let isAllocationOnly = contexts.allSatisfy(\.source.isAllocation)
    // An error of a piece of the request in hand would be forgotten.
    guard !isClosed, statuses.isEmpty, transport.tls == nil, isAllocationOnly,
      owedFailure == nil, change?.failure == nil
    else { return nil }
    var instant: UInt64?
    if case .view(let view, _) = target {
      if view.isDetached { return nil }
      instant = view.instant.rawValue
    }
    isHandedOver = true
    let state = ConnectionState(
      group: group, disk: disk, instant: instant, session: session, isEnding: isEnding,
      request: requestInHand, reads: queuedReads, input: unsafe Array(input.unread),
      output: unsafe Array(output.pending))
    return HandedConnection(state: state, socket: transport.socket)
  }

  private var requestInHand: ConnectionState.RequestInHand? {
    let kind: ConnectionState.RequestInHand.Kind
    switch body {
    case .none: return refusalInHand
    case .write: kind = .write
    case .zero(let record): kind = record == .zero ? .zero : .trim
    case .filter: kind = .filter
    }
    return .init(
      kind: kind, request: bodyRequest, isFirstPiece: bodyIsFirstPiece, offset: bodyOffset,
      remaining: UInt64(bodyRemaining))
  }

  /// Reads whose replies wait until the client takes those before.
  private var queuedReads: [NBDRequest] {
    var all: [NBDRequest] = []
    for _ in 0..<reads.count {
      guard let read = reads.popFirst() else { break }
      all.append(read)
      reads.append(read)
    }
    return all
  }

  private var refusalInHand: ConnectionState.RequestInHand? {
    guard let refusal = requests.refusal else { return nil }
    let left = UInt64(refusal.remainingBytes)
    let request = NBDRequest(
      command: 0, cookie: refusal.tag.cookie, offset: refusal.tag.offset, length: left)
    return .init(
      kind: .discard, request: request, isFirstPiece: true, offset: request.offset,
      remaining: left, error: refusal.error)
  }

  /// Goes on where another process stopped. What had arrived there is the client's `leftover`.
  private func restore(_ state: ConnectionState) {
    output.append(state.output)
    for read in state.reads { reads.append(read) }
    isEnding = state.isEnding
    guard let request = state.request else { return }
    switch request.kind {
    case .write: body = .write
    case .zero: body = .zero(.zero)
    case .trim: body = .zero(.trim)
    case .discard:
      requests.refusal = .init(
        tag: request.request.tag, error: request.error ?? .invalid,
        remainingBytes: Int(request.remaining))
      return
    case .filter: body = .filter
    }
    bodyRequest = request.request
    bodyIsFirstPiece = request.isFirstPiece
    bodyOffset = request.offset
    bodyRemaining = Int(request.remaining)
  }

  // MARK: End

  /// What is staged from the input buffer is journaled while it lies there; mostly it is already.
  @inline(__always)
  private func commitLent() {
    guard input.isLent else { return }
    #if MUTANTS
      if Mutant.endBufferEarly.isOn, isClosed {
        _ = unsafe Unmanaged.passRetained(self)
        return input.overwrite()
      }
    #endif
    if case .live(let group) = target { _ = group.commit() }
    input.settle()
  }

  /// Requests that had arrived whole are journaled like any others, though nobody hears of it.
  override func close() {
    if isClosed { return }
    isClosed = true
    commitLent()
    loop.remove(self, transport.socket)
    if !isHandedOver { transport.shutDown() }
    switch target {
    case .live(let group): group.remove(self)
    case .view(_, let release): release()
    }
    onClose(self)
  }
}
