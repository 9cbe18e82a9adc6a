import BlockModel
import Journal
import NBDProtocol
import Storage
import SystemIO
import Volume

typealias SiteSegmentFile = File
typealias SiteView = View<SiteSegmentFile, DiskStore>
typealias SiteReader = VolumeReader<SiteSegmentFile, DiskStore>

/// One client in the transmission phase, on the loop of its group (or of views).
///
/// A turn: `ready` receives once and executes what is whole. Writes are staged with the group;
/// reads and replies wait for the end of the turn, when the group has committed the batch: then
/// `finishTurn` reads, and one send carries all replies. Confined to its loop's thread.
final class NBDConnection: EventHandler, @unchecked Sendable {
  /// What the export stands for.
  enum Target {
    case live(Group)
    case view(SiteView, release: () -> Void)
  }

  private struct Read {
    let cookie: UInt64
    let range: ByteRange
  }

  /// What follows the request header that was parsed last.
  private enum Body { case none, write, discard }

  /// Bytes of replies that may wait for a slow client before its requests are left unread.
  private static let outputByteLimit = 64 << 20
  /// Bytes of reads under way on workers, likewise.
  private static let readByteLimit = 64 << 20
  private static let inputByteCount = 2 << 20

  let disk: DiskNumber
  private let socket: Socket
  private let loop: EventLoop
  private let target: Target
  private let reader: SiteReader
  private let workers: WorkerPool
  private let limits: NBDExportLimits
  private let log: (String) -> Void

  private var input = InputBuffer(
    byteCount: NBDConnection.inputByteCount, headroom: RecordHeader.byteCount)
  private var output = OutputBuffer(byteCount: 256 << 10)
  private var reads: [Read] = []

  private var body = Body.none
  private var bodyIsFirstPiece = false
  private var bodyCookie: UInt64 = 0
  private var bodyOffset: UInt64 = 0
  private var bodyRemaining = 0
  private var bodyFlagFUA = false
  private var bodyError: NBDError?

  private var interest: Poller.Interest = .readable
  private var readBytesInFlight = 0
  /// Requests whose reply comes later: reads on workers, waits for durability.
  private var pendingReplies = 0
  private var waitsForRoom = false
  private var isEnding = false
  private(set) var isClosed = false
  var isTouched = false

  init(
    socket: Socket, leftover: [UInt8], loop: EventLoop, target: Target, disk: DiskNumber,
    reader: SiteReader, workers: WorkerPool, limits: NBDExportLimits,
    log: @escaping (String) -> Void
  ) {
    self.socket = socket
    self.loop = loop
    self.target = target
    self.disk = disk
    self.reader = reader
    self.workers = workers
    self.limits = limits
    self.log = log
    super.init()
    input.append(leftover)
  }

  /// Starts to serve. On the loop.
  func begin() {
    do throws(Errno) {
      try loop.add(self, socket, .readable)
    } catch {
      log("cannot watch a connection: \(error)")
      close()
      return
    }
    if case .live(let group) = target { group.add(self) }
    process()
  }

  override func ready(_ ready: Poller.Interest) {
    if ready.contains(.writable) { send() }
    if isClosed || ready.isDisjoint(with: [.readable, .closed]) { return }
    let wanted = body == .write ? min(bodyRemaining, RecordHeader.payloadLimit) : 4096
    do throws(Errno) {
      guard let count = try input.receive(from: socket, wanted: wanted) else { return }
      if count == 0 { return close() }
    } catch {
      return close()
    }
    process()
  }

  // MARK: Requests

  /// Executes every whole request that has arrived, then sees to it that the turn is finished.
  private func process() {
    while !isClosed, !waitsForRoom, !isEnding {
      let progressed: Bool
      switch body {
      case .none: progressed = parseRequest()
      case .write: progressed = takePayload()
      case .discard: progressed = discardPayload()
      }
      if !progressed { break }
    }
    touch()
  }

  private func touch() {
    if isClosed { return }
    switch target {
    case .live(let group): group.touch(self)
    case .view: finishTurn()
    }
  }

  private func parseRequest() -> Bool {
    guard input.count >= NBDRequest.byteCount, !isOverLimits else { return false }
    guard let request = unsafe NBDRequest(parsing: input.first) else {
      log("a client sent something that is not a request; its connection is closed")
      close()
      return false
    }
    switch limits.validate(request) {
    case .execute(let operation):
      return execute(operation, request)
    case .refuse(let error, let drainBytes):
      input.consume(NBDRequest.byteCount)
      if drainBytes == 0 {
        reply(request.cookie, error)
      } else {
        body = .discard
        bodyCookie = request.cookie
        bodyRemaining = Int(drainBytes)
        bodyError = error
      }
      return true
    case .disconnect(.requested):
      isEnding = true
      return false
    case .disconnect(.payloadTooLarge):
      log("a client announced a write of \(request.length) bytes; its connection is closed")
      close()
      return false
    }
  }

  private func execute(_ operation: NBDOperation, _ request: NBDRequest) -> Bool {
    switch operation {
    case .read:
      input.consume(NBDRequest.byteCount)
      reads.append(
        Read(
          cookie: request.cookie,
          range: ByteRange(start: request.offset, length: UInt64(request.length))))
    case .write:
      input.consume(NBDRequest.byteCount)
      body = .write
      bodyIsFirstPiece = true
      bodyCookie = request.cookie
      bodyOffset = request.offset
      bodyRemaining = Int(request.length)
      bodyFlagFUA = request.isFUA
    case .trim, .writeZeroes:
      guard case .live(let group) = target else { return true }
      guard group.hasRoom(payloadByteCount: 0) else { return waitForRoom(group) }
      let kind: RecordKind =
        operation == .trim || !request.flags.contains(.noHole) ? .trim : .zero
      let sequence = unsafe group.stage(
        kind, disk: disk, offset: request.offset, length: request.length, record: input.first)
      input.consume(NBDRequest.byteCount)
      finishWrite(group, sequence, request.cookie, isFUA: request.isFUA)
    case .flush:
      input.consume(NBDRequest.byteCount)
      if case .live(let group) = target {
        pendingReplies += 1
        group.flush(self, request.cookie)
      } else {
        reply(request.cookie, nil)
      }
    }
    return true
  }

  /// Stages the next piece of a write's payload once it has arrived whole. A write up to the
  /// record limit is one record, so a view never shows half of it.
  private func takePayload() -> Bool {
    guard case .live(let group) = target else { preconditionFailure("a view is read-only") }
    let piece = min(bodyRemaining, group.payloadLimit)
    guard input.count >= piece else { return false }
    guard group.hasRoom(payloadByteCount: piece) else { return waitForRoom(group) }
    // The 28 bytes in front of a later piece are the end of the one before, already staged.
    if !bodyIsFirstPiece, !group.commit() { return false }
    let sequence = unsafe group.stage(
      .write, disk: disk, offset: bodyOffset, length: UInt32(piece),
      record: input.first - RecordHeader.byteCount)
    input.consume(piece)
    bodyIsFirstPiece = false
    bodyOffset += UInt64(piece)
    bodyRemaining -= piece
    if bodyRemaining == 0 {
      body = .none
      finishWrite(group, sequence, bodyCookie, isFUA: bodyFlagFUA)
    }
    return true
  }

  /// A staged write's reply leaves at the end of the turn, after the commit; with FUA, after the
  /// sync that covers it.
  @inline(__always)
  private func finishWrite(
    _ group: Group, _ sequence: SequenceNumber, _ cookie: UInt64, isFUA: Bool
  ) {
    if isFUA {
      pendingReplies += 1
      group.wait(for: sequence, self, cookie)
    } else {
      reply(cookie, nil)
    }
  }

  private func discardPayload() -> Bool {
    let count = min(bodyRemaining, input.count)
    guard count > 0 else { return false }
    input.consume(count)
    bodyRemaining -= count
    if bodyRemaining == 0 {
      body = .none
      reply(bodyCookie, bodyError)
    }
    return true
  }

  private func waitForRoom(_ group: Group) -> Bool {
    waitsForRoom = true
    group.waitForRoom(self)
    return false
  }

  /// The journal has room again.
  func roomCame() {
    guard waitsForRoom, !isClosed else { return }
    waitsForRoom = false
    process()
  }

  private var isOverLimits: Bool {
    output.pendingByteCount + readBytesInFlight > Self.outputByteLimit
  }

  /// At most one request waits, for durability, and nothing else has arrived.
  var isIdleButForSyncs: Bool {
    pendingReplies <= 1 && readBytesInFlight == 0 && input.count == 0
      && output.pendingByteCount == 0
  }

  // MARK: Replies

  @inline(__always)
  private func reply(_ cookie: UInt64, _ error: NBDError?) {
    unsafe NBDSimpleReply(cookie: cookie, error: error).write(
      to: output.reserve(NBDSimpleReply.byteCount))
    output.commit(NBDSimpleReply.byteCount)
  }

  /// The reply to a request that had to wait. On the loop; the caller touches the connection.
  func completeWait(_ cookie: UInt64, _ error: NBDError?) {
    pendingReplies -= 1
    if isClosed { return }
    reply(cookie, error)
    touch()
  }

  /// Called once a turn, after the group's commit.
  func finishTurn() {
    isTouched = false
    if isClosed { return }
    for read in reads where !isClosed { execute(read) }
    reads.removeAll(keepingCapacity: true)
    if !isClosed { send() }
  }

  private func send() {
    do throws(Errno) {
      _ = try output.send(on: socket)
    } catch {
      return close()
    }
    if isEnding, pendingReplies == 0, output.pendingByteCount == 0 { return close() }
    updateInterest()
    // Requests that were left unread because of the limits can go on.
    if body == .none, input.count >= NBDRequest.byteCount, !isOverLimits, !waitsForRoom,
      !isEnding
    {
      loop.post { [self] in process() }
    }
  }

  private func updateInterest() {
    var wanted: Poller.Interest = []
    if !isEnding, !waitsForRoom, !isOverLimits { wanted.insert(.readable) }
    if output.pendingByteCount > 0 { wanted.insert(.writable) }
    if wanted != interest {
      interest = wanted
      loop.setInterest(self, socket, wanted)
    }
  }

  // MARK: Reads

  /// Fills `buffer` with the range's bytes if all are in memory. Does not block.
  @inline(__always)
  private func readIfCached(
    _ range: ByteRange, into buffer: UnsafeMutableRawBufferPointer
  ) throws(VolumeError) -> Bool {
    switch target {
    case .view(let view, _):
      return try unsafe view.readIfCached(disk: disk, at: range.start, into: buffer)
    case .live(let group):
      var offset = range.start
      while offset < range.end {
        let (length, source) = group.piece(disk: disk, at: offset, limit: range.end - offset)
        let start = Int(offset - range.start)
        let into = unsafe UnsafeMutableRawBufferPointer(
          rebasing: buffer[start..<start + Int(length)])
        guard try unsafe reader.readIfCached(source, at: offset, into: into) else { return false }
        offset += length
      }
      return true
    }
  }

  /// Reads straight into the output when all bytes are in memory; otherwise a worker reads.
  private func execute(_ read: Read) {
    let header = NBDSimpleReply.byteCount
    let count = Int(read.range.length)
    let start = unsafe output.reserve(header + count)
    do throws(VolumeError) {
      let buffer = unsafe UnsafeMutableRawBufferPointer(start: start + header, count: count)
      guard try unsafe readIfCached(read.range, into: buffer) else { return readOnWorker(read) }
    } catch { return readFailed(read, error) }
    unsafe NBDSimpleReply(cookie: read.cookie, error: nil).write(to: start)
    output.commit(header + count)
  }

  private func readFailed(_ read: Read, _ error: VolumeError) {
    // The group says in the log why.
    if case .viewLost = error { return close() }
    log("read at \(read.range.start): \(error)")
    reply(read.cookie, .io)
  }

  /// A read for a worker, and the segments that stay until it is done.
  private struct WorkerRead: Sendable {
    let pinned: [Segment<SiteSegmentFile>]
    /// Fills the buffer with the range's bytes.
    let run: @Sendable (borrowing PageBuffer) throws(VolumeError) -> Void
  }

  private func workerRead(_ range: ByteRange) -> WorkerRead {
    let count = Int(range.length)
    switch target {
    case .view(let view, _):
      // A view sees to it by itself that its segments stay.
      return WorkerRead(pinned: []) { [disk] memory throws(VolumeError) in
        let buffer = unsafe UnsafeMutableRawBufferPointer(start: memory.base, count: count)
        try unsafe view.read(disk: disk, at: range.start, into: buffer)
      }
    case .live(let group):
      let plan = ReadPlan(range) { group.piece(disk: disk, at: $0, limit: $1) }
      let pinned = plan.segments.compactMap { reader.catalog?.pinned($0) }
      return WorkerRead(pinned: pinned) { [reader] memory throws(VolumeError) in
        let buffer = unsafe UnsafeMutableRawBufferPointer(start: memory.base, count: count)
        try unsafe reader.read(plan, into: buffer)
      }
    }
  }

  private func readOnWorker(_ read: Read) {
    let job = workerRead(read.range)
    let count = Int(read.range.length)
    pendingReplies += 1
    readBytesInFlight += count
    workers.submit { [self] in
      let memory = PageBuffer(byteCount: count)
      var failure: VolumeError?
      do throws(VolumeError) { try job.run(memory) } catch { failure = error }
      for segment in job.pinned { segment.unpin() }
      let result = ReadResult(memory, failure)
      loop.post { [self] in readFinished(read, result) }
    }
  }

  /// Carries the bytes from the worker to the loop.
  private final class ReadResult: Sendable {
    let memory: PageBuffer
    let failure: VolumeError?
    init(_ memory: consuming PageBuffer, _ failure: VolumeError?) {
      self.memory = memory
      self.failure = failure
    }
  }

  private func readFinished(_ read: Read, _ result: ReadResult) {
    let count = Int(read.range.length)
    pendingReplies -= 1
    readBytesInFlight -= count
    if isClosed { return }
    if let failure = result.failure {
      readFailed(read, failure)
    } else {
      let header = NBDSimpleReply.byteCount
      let start = unsafe output.reserve(header + count)
      unsafe NBDSimpleReply(cookie: read.cookie, error: nil).write(to: start)
      unsafe (start + header).copyMemory(from: result.memory.base, byteCount: count)
      output.commit(header + count)
    }
    touch()
  }

  // MARK: End

  func close() {
    if isClosed { return }
    isClosed = true
    loop.remove(self, socket)
    socket.shutDown()
    switch target {
    case .live(let group): group.remove(self)
    case .view(_, let release): release()
    }
  }
}
