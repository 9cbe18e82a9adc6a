import BlockModel
import Journal
import Replication
import SystemIO
import TLS

/// The recovery site's end of a link, on the loop of its group.
///
/// Records arrive as the bytes of the peer's segments; they are verified where they lie and
/// appended from there, like a guest's writes. Confined to its loop's thread.
final class LinkReceiver: EventHandler, IncomingLink, @unchecked Sendable {
  private enum Phase {
    case new
    /// A welcome was sent; `begin`, `cut` or `copyBegin` must come.
    case agreeing
    /// The journal is being set back, or what an earlier connection brought is being stored.
    case resetting
    case streaming
  }

  private static let inputByteCount = 8 << 20
  /// Pieces of a full copy that wait to be written; above, the link is left unread.
  private static let baselineByteLimit = 32 << 20
  private static let aliveNanoseconds: UInt64 = 1_000_000_000

  private let socket: Socket
  private let group: Group
  /// For what a peer may cause again and again.
  let log: ClientLog
  private var hello: LinkHello
  private var input = InputBuffer(byteCount: LinkReceiver.inputByteCount, headroom: 0)
  private var output = OutputBuffer(byteCount: 4096)
  private let plain = PageBuffer(byteCount: 2 * RecordHeader.payloadLimit)
  private var diskBounds: [UInt64]
  /// What the peer was told last.
  private var toldDisks: [JournalState.Disk] = []

  private var phase = Phase.new
  /// The full copy under way; 0 when there is none.
  private var copy: UInt64 = 0
  /// Records come beside what is left of it.
  private(set) var isFollowing = false
  /// The peer waits to hear that what came so far is durable.
  private var isConfirming = false
  private var recordBytesLeft = 0
  /// The next segment has no file yet.
  private(set) var waitsForRoom = false
  /// A marker of a disk comes next, for which the group prepares.
  private var waitsForDisk = false
  /// Records that were decompressed and not taken yet.
  private var plainLeft = 0..<0
  private var baselineBytesPending = 0
  private var interest: Poller.Interest = .readable
  /// When the peer was sent something last, and when something of it came; monotonic.
  private var lastSent: UInt64 = 0
  private(set) var lastHeard = SystemClock.monotonicNanoseconds()
  private(set) var isClosed = false

  init(socket: Socket, leftover: [UInt8], hello: LinkHello, group: Group, log: ClientLog) {
    self.socket = socket
    self.group = group
    self.log = log
    self.hello = hello
    diskBounds = group.diskBounds
    super.init()
    input.append(leftover)
  }

  var isStreaming: Bool { phase == .streaming }

  /// The protected site's disks, as it last said.
  var peerDisks: [JournalState.Disk] { hello.disks }

  var peerLast: SequenceNumber { hello.last.sequence }

  var peerIncarnation: IncarnationIdentifier? { hello.lineage.newest?.identifier }

  /// On the group's loop.
  func begin() {
    socket.keepAlive(.receiving)
    do throws(Errno) {
      try group.loop.add(self, socket, .readable)
    } catch { return close() }
    group.accept(self, hello)
  }

  override func ready(_ ready: Poller.Interest) {
    if ready.contains(.writable) { send() }
    if isClosed || ready.isDisjoint(with: [.readable, .closed]) { return }
    commitLent()
    if isClosed { return }
    do throws(Errno) {
      let wanted = LinkFrame.byteCount + LinkFrame.bodyLimit(of: .baselineData)
      guard let count = try input.receive(from: Transport(socket), wanted: wanted) else { return }
      if count == 0 { return end() }
    } catch { return end() }
    noteHeard()
    process()
  }

  private func noteHeard() {
    lastHeard = SystemClock.monotonicNanoseconds()
    // A greeting alone is no success.
    if phase == .streaming { group.receiving.heard(now: lastHeard) }
  }

  /// There is room in the journal, or for more pieces of a full copy.
  func resume() {
    guard !isClosed else { return }
    waitsForRoom = false
    updateInterest()
    process()
    // What was left unread was no silence of the peer.
    if !isPaused { noteHeard() }
  }

  // MARK: Frames

  private func process() {
    do throws(LinkError) {
      while !isClosed, !isPaused, try step() {}
    } catch {
      log.note("group \(group.configuration.name): link from \(hello.site): \(error)")
      if case .unacceptable(let reason) = error { send(LinkFrame(.refused), Array(reason.utf8)) }
      return end()
    }
    updateInterest()
    if !isClosed { group.loop.enlist(group) }
  }

  /// Nothing is read from the peer for now.
  var isPaused: Bool {
    waitsForRoom || waitsForDisk || phase == .resetting || group.lifecycle.isPausing
      || baselineBytesPending > Self.baselineByteLimit
  }

  /// Takes one frame, or a piece of one with records. False when more must arrive first.
  private func step() throws(LinkError) -> Bool {
    if !plainLeft.isEmpty { return try takePlain() }
    if recordBytesLeft > 0 { return try takeRecords() }
    guard input.count >= LinkFrame.byteCount else { return false }
    guard let frame = unsafe LinkFrame(parsing: input.first) else {
      throw .protocolViolation("not a frame")
    }
    if frame.kind == .records {
      try checkPosition(frame)
      input.consume(LinkFrame.byteCount)
      recordBytesLeft = frame.bodyByteCount
      return true
    }
    guard input.count >= LinkFrame.byteCount + frame.bodyByteCount else { return false }
    if frame.kind == .segment, let journal = group.journal, !journal.hasFreeSegment {
      waitsForRoom = true
      // When there is room at once, this comes back here by `resume` and takes the frame.
      group.makeRoom()
      return false
    }
    let body = unsafe UnsafeRawBufferPointer(
      start: input.first + LinkFrame.byteCount, count: frame.bodyByteCount)
    try unsafe handle(frame, body)
    if isClosed { return false }
    input.consume(LinkFrame.byteCount + frame.bodyByteCount)
    return true
  }

  private func handle(_ frame: LinkFrame, _ body: UnsafeRawBufferPointer) throws(LinkError) {
    switch (phase, frame.kind) {
    case (.agreeing, .begin):
      try group.requireCommon(hello, discarding: nil, droppingAfter: group.journal?.appended)
      group.receiving.agreed()
      group.receiving.follows()
      phase = .streaming
      log.note("group \(group.configuration.name): receiving from \(hello.site)")
      tellGrowth()
    case (.agreeing, .cut):
      let sequence = SequenceNumber(frame.argument)
      let seen = try unsafe LinkMessage.decodeDiscarded(Array(body))
      try group.requireCommon(hello, discarding: seen, droppingAfter: sequence)
      phase = .resetting
      group.cut(after: sequence, isDiscarded: seen != nil, self)
    case (.agreeing, .copyBegin):
      // Before anything is forgotten.
      if let reason = group.refusalOfCopy(from: hello) { throw .unacceptable(reason) }
      let seen = try unsafe LinkMessage.decodeDiscarded(Array(body))
      try group.requireCommon(hello, discarding: seen, droppingAfter: nil)
      group.receiving.agreed()
      phase = .resetting
      copy = frame.argument
      group.beginBaseline(hello, start: .none, copy: copy, self)
    case (.streaming, .baselineBegin) where copy != 0 && !isFollowing:
      guard frame.argument <= SequenceNumber.limit.rawValue else {
        throw .protocolViolation("records after \(frame.argument) cannot be counted")
      }
      phase = .resetting
      isFollowing = true
      group.beginBaseline(hello, start: SequenceNumber(frame.argument), copy: copy, self)
    case (.streaming, .baselineConfirm) where copy != 0 && !isConfirming:
      isConfirming = true
      group.storeBaseline(confirming: frame.argument, self)
    case (.agreeing, .diverged):
      group.diverged(unsafe String(oneLine: body))
      end()
    case (.streaming, .durable):
      group.noteOwnerDurable(SequenceNumber(frame.argument), hello.lineage)
    case (.streaming, .hello):
      try greetAgain(try unsafe LinkHello(decoding: Array(body)))
    case (.streaming, .segment):
      try unsafe openSegment(Array(body))
    case (.streaming, .compressedRecords):
      try checkPosition(frame)
      try unsafe takeCompressed(body)
    case (.streaming, .heartbeat):
      group.heard(Timestamp(rawValue: frame.argument))
    case (.streaming, .baselineData), (.streaming, .baselineZeros),
      (.streaming, .compressedBaseline):
      guard copy != 0 else { throw .protocolViolation("unexpected \(frame.kind)") }
      try unsafe takeBaseline(frame.kind, body)
    case (.streaming, .baselineEnd) where isFollowing && copy != 0:
      copy = 0
      var decoder = unsafe WireDecoder(Array(body))
      guard let timestamp = try? decoder.take(UInt64.self), timestamp > 0 else {
        throw .protocolViolation("end of a full copy is malformed")
      }
      group.endBaseline(
        .init(SequenceNumber(frame.argument), Timestamp(rawValue: timestamp)), from: self)
    default:
      throw .protocolViolation("unexpected \(frame.kind)")
    }
  }

  /// Its disks have grown. Whatever else it names was looked at when the first hello came, and must
  /// be what it was: it goes into the log and into the state file.
  private func greetAgain(_ again: LinkHello) throws(LinkError) {
    var expected = hello
    expected.last = again.last
    // Disks come and leave with their markers; what is named here is what is to come.
    expected.disks = again.disks
    expected.nextDisk = again.nextDisk
    let isSame = again.disks.allSatisfy { disk in
      hello.disks[disk.number].map { $0.name == disk.name } ?? EntityName.isValid(disk.name)
    }
    guard isSame, again == expected else {
      throw .unacceptable(
        "a hello on a connection that site \(hello.site) had begun for group "
          + "\(hello.groupName) names another site, group, history or disk: only the disks "
          + "and their sizes can change; begin another connection for anything else")
    }
    hello = again
  }

  private func checkPosition(_ frame: LinkFrame) throws(LinkError) {
    guard phase == .streaming else { throw .protocolViolation("unexpected \(frame.kind)") }
    let position = StreamPosition(argument: frame.argument)
    guard let expected = group.journal?.acceptPosition, position.segment == expected.segment,
      Int(position.offset) == expected.offset
    else {
      throw .protocolViolation(
        "records for segment \(position.segment) at \(position.offset) do not continue what is "
          + "here")
    }
  }

  // MARK: Records

  private func takeRecords() throws(LinkError) -> Bool {
    let available = min(recordBytesLeft, input.count)
    input.lend()
    let taken = try unsafe accept(
      UnsafeMutableRawBufferPointer(start: input.first, count: available))
    if try stopsBeforeDisk() {
      input.consume(taken)
      recordBytesLeft -= taken
      // What was taken must not lie in a buffer that is read into meanwhile.
      commitLent()
      return false
    }
    if taken == 0 {
      if available == recordBytesLeft {
        throw .protocolViolation("records end in the middle of one")
      }
      return false
    }
    input.consume(taken)
    recordBytesLeft -= taken
    return true
  }

  private func accept(_ bytes: UnsafeMutableRawBufferPointer) throws(LinkError) -> Int {
    guard let journal = group.journal else { return 0 }
    do throws(JournalError) {
      return try unsafe journal.accept(bytes, disks: diskBounds)
    } catch { throw linkError(error) }
  }

  private func takeCompressed(_ body: UnsafeRawBufferPointer) throws(LinkError) {
    let prefix = 4
    guard body.count > prefix, let base = body.baseAddress else {
      throw .protocolViolation("compressed records are malformed")
    }
    let count = Int(unsafe UInt32(bigEndian: base.loadUnaligned(as: UInt32.self)))
    guard count <= plain.count else { throw .protocolViolation("compressed records too long") }
    let target = unsafe UnsafeMutableRawBufferPointer(start: plain.base, count: count)
    let packed = unsafe UnsafeRawBufferPointer(rebasing: body[prefix...])
    guard unsafe LZ4.decompress(packed, into: target) == count else {
      throw .protocolViolation("compressed records do not decompress")
    }
    plainLeft = 0..<count
    _ = try takePlain()
  }

  /// Takes what is left of decompressed records. False when it must wait.
  private func takePlain() throws(LinkError) -> Bool {
    let target = unsafe UnsafeMutableRawBufferPointer(
      start: plain.base + plainLeft.lowerBound, count: plainLeft.count)
    let taken = try unsafe accept(target)
    // The memory serves the next frame: what is staged from it is written now.
    _ = group.commit()
    plainLeft = plainLeft.lowerBound + taken..<plainLeft.upperBound
    if try stopsBeforeDisk() { return false }
    guard plainLeft.isEmpty else {
      throw .protocolViolation("compressed records end in the middle of one")
    }
    return true
  }

  /// Whether the records go on with a marker of a disk. The group prepares for it then.
  private func stopsBeforeDisk() throws(LinkError) -> Bool {
    guard let (change, mark) = group.journal?.takeNextChange() else { return false }
    waitsForDisk = true
    try group.prepare(for: change, mark, from: self)
    return true
  }

  func diskReady() {
    waitsForDisk = false
    diskBounds = group.diskBounds
    resume()
  }

  private func openSegment(_ bytes: [UInt8]) throws(LinkError) {
    guard let header = try? SegmentHeader(decoding: bytes) else {
      throw .protocolViolation("segment header is malformed")
    }
    do throws(JournalError) {
      try group.journal?.acceptSegment(header)
    } catch { throw linkError(error) }
    // The peer keeps what is not durable here, and may have little room for it.
    group.startSync()
  }

  /// What the peer sent wrong ends the link; what this site's storage does ends the group.
  private func linkError(_ error: JournalError) -> LinkError {
    switch error {
    case .storage: group.fail("\(error)")
    case .behindEnd(let sequence, let disk, let end):
      let obstacle = Obstacle(
        incarnation: hello.lineage.newest?.identifier, sequence: sequence, disk: disk, end: end)
      return .unacceptable(group.stopReceiving(before: obstacle))
    default: break
    }
    return .local("\(error)")
  }

  // MARK: Full copy

  private func takeBaseline(
    _ kind: LinkFrameKind, _ body: UnsafeRawBufferPointer
  ) throws(LinkError) {
    let prefix = BaselinePiece.byteCount
    guard body.count >= prefix else { throw .protocolViolation("baseline piece is malformed") }
    let piece = try unsafe BaselinePiece(decoding: Array(body[..<prefix]))
    guard let disk = group.diskTable.withLock({ $0[piece.disk] }),
      piece.range.end <= disk.store.byteCount
    else { throw .protocolViolation("baseline piece lies outside of its disk") }
    let payload = unsafe UnsafeRawBufferPointer(rebasing: body[prefix...])
    let bytes = try unsafe kind == .baselineZeros ? nil : plainBytes(of: piece, kind, payload)
    let cost = bytes?.count ?? prefix
    baselineBytesPending += cost
    group.storeBaseline(piece, bytes, from: self) { [self] in
      let wasPaused = isPaused
      baselineBytesPending -= cost
      if wasPaused, !isPaused { resume() }
    }
  }

  private func plainBytes(
    of piece: BaselinePiece, _ kind: LinkFrameKind, _ payload: UnsafeRawBufferPointer
  ) throws(LinkError) -> [UInt8] {
    let count = piece.range.length
    if kind == .baselineData, count == UInt64(payload.count) { return unsafe Array(payload) }
    guard kind == .compressedBaseline, count > 0, count <= UInt64(plain.count) else {
      throw .protocolViolation("baseline piece has the wrong length")
    }
    var isWhole = false
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, filled in
      isWhole =
        unsafe LZ4.decompress(payload, into: UnsafeMutableRawBufferPointer(buffer)) == Int(count)
      filled = isWhole ? Int(count) : 0
    }
    guard isWhole else { throw .protocolViolation("baseline piece does not decompress") }
    return bytes
  }

  // MARK: Answers

  /// A welcome comes later; the peer hears that this site is there.
  func keepWaiting() { phase = .resetting }

  func welcome(_ welcome: LinkWelcome) {
    phase = .agreeing
    toldDisks = welcome.disks
    send(LinkFrame(.welcome), welcome.encoded())
    resume()
  }

  func baselineReady() {
    phase = .streaming
    // The disks may have the peer's numbers now.
    diskBounds = group.diskBounds
    tellGrowth()
    resume()
  }

  /// Disks of this group have become larger.
  func disksGrew() {
    diskBounds = group.diskBounds
    tellGrowth()
  }

  private func tellGrowth() {
    guard isStreaming, let welcome = group.presentWelcome, welcome.disks != toldDisks else {
      return
    }
    toldDisks = welcome.disks
    send(LinkFrame(.welcome), welcome.encoded())
  }

  /// The pieces before the peer's question of this number are durable.
  func confirmBaseline(_ number: UInt64) {
    isConfirming = false
    send(LinkFrame(.baselineStored, argument: number), [])
  }

  /// Several times a second: the peer hears of this site at least once a second.
  func stayInTouch() {
    let now = SystemClock.monotonicNanoseconds()
    guard phase != .new, !isClosed, output.pendingByteCount == 0,
      now &- lastSent >= Self.aliveNanoseconds
    else { return }
    send(LinkFrame(.alive), [])
  }

  func report(_ progress: LinkProgress) { send(LinkFrame(.progress), progress.encoded()) }

  func refuse(_ reason: String) {
    if group.receiving.refuses(because: reason) {
      // Anybody may come under any name: between quotes it makes no kind of its own.
      log.note("group \(hello.groupName): refused \(hello.site.quotedForMessage): \(reason)")
    }
    send(LinkFrame(.refused), Array(reason.utf8))
    close()
  }

  private func send(_ frame: LinkFrame, _ body: [UInt8]) {
    if isClosed { return }
    var frame = frame
    frame.bodyByteCount = body.count
    lastSent = SystemClock.monotonicNanoseconds()
    output.append(frame.encoded)
    output.append(body)
    send()
  }

  private func send() {
    do throws(Errno) { _ = try output.send(on: Transport(socket)) } catch { return end() }
    updateInterest()
  }

  private func updateInterest() {
    if isClosed { return }
    var wanted: Poller.Interest = []
    if !isPaused { wanted.insert(.readable) }
    if output.pendingByteCount > 0 { wanted.insert(.writable) }
    if wanted != interest {
      interest = wanted
      group.loop.setInterest(self, socket, wanted)
    }
  }

  private func end() {
    if isClosed { return }
    close()
    group.receiverClosed(self)
  }

  /// What is staged from the input buffer is journaled while it lies there; mostly it is already.
  private func commitLent() {
    guard input.isLent else { return }
    _ = group.commit()
    input.settle()
  }

  func close() {
    if isClosed { return }
    isClosed = true
    commitLent()
    group.loop.remove(self, socket)
    socket.shutDown()
  }
}
