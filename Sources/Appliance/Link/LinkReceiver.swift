import BlockModel
import Journal
import Replication
import SystemIO
import TLS

/// The recovery site's end of a link, on the loop of its group: what may come, `ReceivingLink`
/// knows; this gives it the bytes, and has the group do what they ask for.
///
/// Records arrive as the bytes of the peer's segments; they are verified where they lie and
/// appended from there, like a guest's writes. Confined to its loop's thread.
final class LinkReceiver: EventHandler, IncomingLink, @unchecked Sendable {
  private static let inputByteCount = 8 << 20
  private static let aliveNanoseconds: UInt64 = 1_000_000_000

  private let transport: Transport
  private let group: Group
  /// For what a peer may cause again and again.
  let log: ClientLog
  private var link: ReceivingLink
  private var input = InputBuffer(byteCount: LinkReceiver.inputByteCount, headroom: 0)
  private var output = OutputBuffer(byteCount: 4096)
  /// Where packed records are unpacked.
  private let plain = PageBuffer(byteCount: ReceivingLink.plainByteLimit)
  private var diskBounds: [UInt64]
  /// What the peer was told last.
  private var toldDisks: [JournalState.Disk] = []
  private var interest: Poller.Interest = .readable
  /// It goes on in the next turn.
  private var isResuming = false
  /// When the peer was sent something last, and when something of it came; monotonic.
  private var lastSent: UInt64 = 0
  private(set) var lastHeard = SystemClock.monotonicNanoseconds()
  private(set) var isClosed = false

  init(
    _ transport: Transport, leftover: [UInt8], hello: LinkHello, group: Group, log: ClientLog
  ) {
    self.transport = transport
    self.group = group
    self.log = log
    link = ReceivingLink(hello)
    diskBounds = group.diskBounds
    super.init()
    input.append(leftover)
  }

  var isStreaming: Bool { link.phase == .streaming }
  var isFollowing: Bool { link.isFollowing }
  var waitsForRoom: Bool { link.waitsForRoom }
  var peerDisks: [JournalState.Disk] { link.hello.disks }
  var peerLast: SequenceNumber { link.hello.last.sequence }
  var peerIncarnation: IncarnationIdentifier? { link.hello.lineage.newest?.identifier }
  var isPaused: Bool { link.isPaused || group.lifecycle.isPausing }

  /// On the group's loop.
  func begin() {
    transport.socket.keepAlive(.receiving)
    do throws(Errno) {
      try group.loop.add(self, transport.socket, .readable)
    } catch { return close() }
    group.accept(self, link.hello)
  }

  override func ready(_ ready: Poller.Interest) {
    if ready.contains(.writable) { send() }
    if isClosed || ready.isDisjoint(with: [.readable, .closed]) { return }
    receive(ready)
    resumeIfMoreHasCome()
  }

  /// TLS holds bytes of which the poller does not know.
  private func resumeIfMoreHasCome() {
    guard transport.hasBufferedInput, !isClosed, !isPaused, !isResuming else { return }
    isResuming = true
    group.loop.resume(self)
  }

  private func receive(_ ready: Poller.Interest) {
    // What it waited for has come, and what has arrived is taken in this turn: see `resume`. To
    // receive nothing would look like the peer's end.
    if input.isFull, !ready.contains(.closed) { return }
    commitLent()
    if isClosed { return }
    do throws(Errno) {
      let wanted = LinkFrame.byteCount + LinkFrame.bodyLimit(of: .baselineData)
      guard let count = try input.receive(from: transport, wanted: wanted) else { return }
      if count == 0 { return end() }
    } catch { return end() }
    noteHeard()
    process()
  }

  private func noteHeard() {
    lastHeard = SystemClock.monotonicNanoseconds()
    // A greeting alone is no success.
    if isStreaming { group.receiving.heard(now: lastHeard) }
  }

  /// There may be room in the journal, or for more pieces of a full copy. What has arrived is taken
  /// in the next turn: this is called in the middle of what made the room.
  func resume() {
    if isClosed { return }
    link.resume()
    updateInterest()
    if isResuming { return }
    isResuming = true
    group.loop.resume(self)
  }

  override func resumed() {
    isResuming = false
    if isClosed { return }
    process()
    // What was left unread was no silence of the peer.
    if !isClosed, !isPaused { noteHeard() }
    if !isClosed, !isPaused, transport.hasBufferedInput { receive(.readable) }
    resumeIfMoreHasCome()
  }

  // MARK: What has come

  private func process() {
    do throws(LinkError) {
      while !isClosed, !isPaused, try step() {}
    } catch {
      log.note("group \(group.configuration.name): link from \(link.hello.site): \(error)")
      if case .unacceptable(let reason) = error { send(LinkFrame(.refused), Array(reason.utf8)) }
      return end()
    }
    updateInterest()
    if !isClosed { group.loop.enlist(group) }
  }

  /// Takes one frame, or a piece of one with records. False when more must arrive first.
  private func step() throws(LinkError) -> Bool {
    switch try unsafe link.next(input.unread, place) {
    case .await: return false
    case .awaitRoom:
      group.makeRoom()
      return false
    case .records(let byteCount): return try takeRecords(byteCount)
    case .plainRecords(let range): return try takePlain(range)
    case .skip: break
    case let step: try perform(step)
    }
    if isClosed { return false }
    input.consume(link.stepByteCount)
    return true
  }

  private var place: ReceivingLink.Place {
    guard let journal = group.journal else { return .init(nil, hasFreeSegment: true) }
    let position = journal.acceptPosition.map {
      StreamPosition(segment: $0.segment, offset: UInt32($0.offset))
    }
    return .init(position, hasFreeSegment: journal.hasFreeSegment)
  }

  private func perform(_ step: ReceivingLink.Step) throws(LinkError) {
    switch step {
    case .await, .awaitRoom, .skip, .records, .plainRecords: break
    case .packedRecords(let bytes, let count): try unsafe unpack(bytes, count)
    case .segment(let header): try openSegment(header)
    case .piece(let piece, let content): try store(piece, content)
    case .compare(let extents): group.compareBaseline(extents, for: self)
    case .alike(let piece):
      try checkPlace(of: piece)
      group.passBaseline(piece)
    case .heartbeat(let timestamp): group.heard(timestamp)
    case .takeOver(let sequence):
      if let reason = group.refusalToTakeOver(sequence, from: link.hello.site) {
        throw .unacceptable(reason)
      }
    case .ownerDurable(let sequence): group.noteOwnerDurable(sequence, link.hello.lineage)
    case .begin: try follow()
    case .cut(let sequence, let seen):
      try group.requireCommon(link.hello, discarding: seen, droppingAfter: sequence)
      group.cut(after: sequence, isDiscarded: seen != nil, self)
    case .copy(let number, let seen):
      // Before anything is forgotten.
      if let reason = group.refusalOfCopy(from: link.hello) {
        group.obstacleToFollowing = reason
        throw .unacceptable(reason)
      }
      try group.requireCommon(link.hello, discarding: seen, droppingAfter: nil)
      group.receiving.agreed()
      group.obstacleToFollowing = nil
      group.beginBaseline(link.hello, start: .none, copy: number, self)
    case .follow(let sequence):
      group.endDigesting()
      group.beginBaseline(link.hello, start: sequence, copy: link.copy, self)
    case .confirm(let number): group.storeBaseline(confirming: number, self)
    case .endCopy(let mark): group.endBaseline(mark, from: self)
    case .restamped(let position, let record):
      group.restamped(to: position, by: record)
    case .reconciled(let mark): group.reconciled(at: mark)
    case .jump(let point):
      try group.requireJump(to: point, link.hello)
      group.jump(to: point, of: link.hello.site)
      end()
    case .diverged(let text):
      group.diverged(text)
      end()
    }
  }

  private func follow() throws(LinkError) {
    try group.requireCommon(
      link.hello, discarding: nil, droppingAfter: group.journal?.appended)
    group.receiving.agreed()
    group.obstacleToFollowing = nil
    group.receiving.follows()
    log.note("group \(group.configuration.name): receiving from \(link.hello.site)")
    tellGrowth()
    tellLacking()
  }

  private func tellLacking() {
    guard let lacking = group.lackingRest, let list = group.lacking else { return }
    let rest = lacking.extents
    link.toldLacking()
    for part in LinkMessage.lackingParts(rest) {
      send(LinkFrame(.lacking), LinkMessage.encodeLacking(part))
    }
    send(
      LinkFrame(.lackingEnd, argument: UInt64(rest.count)), LinkMessage.encode(list.exactAfter))
    if !isClosed { group.beginDigesting(lacking, after: list.common.sequence, for: self) }
  }

  // MARK: Records

  private func takeRecords(_ byteCount: Int) throws(LinkError) -> Bool {
    input.lend()
    let taken = try unsafe accept(
      UnsafeMutableRawBufferPointer(start: input.first, count: byteCount))
    input.consume(taken)
    return try goOn(after: taken, of: byteCount)
  }

  private func unpack(_ packed: UnsafeRawBufferPointer, _ count: Int) throws(LinkError) {
    let target = unsafe UnsafeMutableRawBufferPointer(start: plain.base, count: count)
    guard unsafe LZ4.decompress(packed, into: target) == count else {
      throw .protocolViolation("compressed records do not decompress")
    }
  }

  private func takePlain(_ range: Range<Int>) throws(LinkError) -> Bool {
    let taken = try unsafe acceptUnpacked(
      UnsafeMutableRawBufferPointer(start: plain.base + range.lowerBound, count: range.count))
    return try goOn(after: taken, of: range.count)
  }

  /// The memory serves the next frame, or ends with this link: what is staged from it is written
  /// now, also before a record that ends the link.
  private func acceptUnpacked(
    _ bytes: UnsafeMutableRawBufferPointer
  ) throws(LinkError) -> Int {
    defer { _ = group.commit() }
    return try unsafe accept(bytes)
  }

  /// Where a marker of a disk comes next, the group prepares for it.
  private func goOn(after taken: Int, of byteCount: Int) throws(LinkError) -> Bool {
    let next = group.journal?.takeNextChange()
    let goesOn = try link.took(taken, of: byteCount, isBeforeDisk: next != nil)
    guard let (change, mark) = next else { return goesOn }
    // What was taken must not lie in a buffer that is read into meanwhile.
    commitLent()
    if isClosed { return false }
    try group.prepare(for: change, mark, from: self)
    return false
  }

  func diskReady() {
    link.diskReady()
    diskBounds = group.diskBounds
    resume()
  }

  private func accept(_ bytes: UnsafeMutableRawBufferPointer) throws(LinkError) -> Int {
    guard let journal = group.journal else { return 0 }
    do throws(JournalError) {
      return try unsafe journal.accept(bytes, disks: diskBounds)
    } catch { throw linkError(error) }
  }

  private func openSegment(_ header: SegmentHeader) throws(LinkError) {
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
        incarnation: link.hello.lineage.newest?.identifier, sequence: sequence, disk: disk,
        end: end)
      return .unacceptable(group.stopReceiving(before: obstacle))
    case .brokenPromise(let sequence, let timestamp, let promised):
      if group.givesUpPromise(to: link.hello) {
        return .unacceptable(
          "\(group.siteName) gives up what another owner had promised, and follows then")
      }
      return .unacceptable(group.brokenPromise(sequence, of: timestamp, promised, link.hello.site))
    default: break
    }
    return .local("\(error)")
  }

  // MARK: Full copy

  private func checkPlace(of piece: BaselinePiece) throws(LinkError) {
    guard group.hasPlace(for: piece) else {
      throw .protocolViolation("baseline piece lies outside of its disk")
    }
  }

  private func store(_ piece: BaselinePiece, _ content: ReceivedPiece) throws(LinkError) {
    try checkPlace(of: piece)
    let bytes = try content.bytes(of: piece)
    let cost = bytes?.count ?? 0
    link.pieceWaits(cost)
    group.storeBaseline(piece, bytes, from: self) { [self] in
      let wasPaused = isPaused
      link.pieceStored(cost)
      if wasPaused, !isPaused { resume() }
    }
  }

  // MARK: Answers

  func keepWaiting() { link.keepWaiting() }

  func welcome(_ welcome: LinkWelcome) {
    link.welcomed()
    diskBounds = group.diskBounds
    toldDisks = welcome.disks
    send(LinkFrame(.welcome), welcome.encoded())
    resume()
  }

  func baselineReady() {
    link.baselineReady()
    // The disks may have the peer's numbers now.
    diskBounds = group.diskBounds
    tellGrowth()
    resume()
  }

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

  func confirmBaseline(_ number: UInt64) {
    link.confirmed()
    send(LinkFrame(.baselineStored, argument: number), [])
  }

  func stayInTouch() {
    let now = SystemClock.monotonicNanoseconds()
    guard link.phase != .greeted, !isClosed, output.pendingByteCount == 0,
      now &- lastSent >= Self.aliveNanoseconds
    else { return }
    send(LinkFrame(.alive), [])
  }

  func report(_ progress: LinkProgress) { send(LinkFrame(.progress), progress.encoded()) }

  func tell(_ digests: [BlockDigest], from position: DiskPosition) {
    send(LinkFrame(.digests), LinkMessage.encodeDigests(digests, from: position))
  }

  func outrank(_ rival: Rival) {
    send(LinkFrame(.outranked), rival.encoded())
    close()
  }

  func refuse(_ reason: String) {
    let hello = link.hello
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
    do throws(Errno) { _ = try output.send(on: transport) } catch { return end() }
    updateInterest()
  }

  private func updateInterest() {
    if isClosed { return }
    var wanted: Poller.Interest = []
    if !isPaused { wanted.insert(.readable) }
    if output.pendingByteCount > 0 { wanted.insert(.writable) }
    if wanted != interest {
      interest = wanted
      group.loop.setInterest(self, transport.socket, wanted)
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
    group.loop.remove(self, transport.socket)
    transport.shutDown()
  }
}
