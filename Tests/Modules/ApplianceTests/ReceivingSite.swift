import BlockModel
import Foundation
import JournalTestSupport
import Storage
import StorageTesting
import SystemIO

@testable import Journal
@testable import Replication

/// The recovery site's end of a link, as small as can be, on the test's own thread. It can stop
/// listening to the cable after any byte.
final class ReceivingSite {
  struct Violation: Error, CustomStringConvertible {
    let description: String
  }

  let group: TestGroup
  let endpoint: SocketAddress
  /// The connection breaks when so many more bytes have arrived.
  var bytesUntilCut: Int?
  /// How much is received at once.
  var receiveLimit = 64 << 10
  var needsBaseline = false
  /// What its welcomes name.
  var disks: [JournalState.Disk] = []
  /// A lie: the offset in its segment that the next welcome names.
  var claimedOffset: Int?

  private(set) var hellos: [LinkHello] = []
  private(set) var framesSeen: [LinkFrameKind: Int] = [:]
  private(set) var cuts: [SequenceNumber] = []
  /// The numbers of the full copies, as each connection named them.
  private(set) var copies: [UInt64] = []
  /// Where it was to go on, and what it was to lack there.
  private(set) var jumps: [JumpPoint] = []
  private var owed = DiskExtents()
  /// So many blocks at most are told of in a step, of those that the sender compares.
  var digestsPerStep = Int.max
  /// Bytes that the sender has left out.
  private(set) var alikeByteCount: UInt64 = 0
  private var named = DiskExtents()
  private var compared: LackingBlocks?
  private var stored: UInt64 = 0
  private(set) var knownThrough: UInt64 = 0
  /// What the sender has said to be durable, and of two histories.
  var ownerDurable = JournalState.OwnerMark.unknown
  private(set) var divergence: String?
  private(set) var baselineEnd: SequenceNumber?

  private let listener: Socket
  private var connection: Socket?
  private var inbox: [UInt8] = []
  private var recordBytesLeft = 0
  private var reported: LinkProgress?
  /// Both ends know where the stream begins: only now the sender is told how far this site is.
  private var isStreaming = false

  init(for sending: SendingGroup, seed: UInt64) throws {
    var settings = TestGroup.Settings(diskByteCounts: sending.diskByteCounts)
    settings.segmentByteCount = sending.options.segmentByteCount
    settings.capacityByteCount = sending.options.capacityByteCount
    group = try TestGroup(seed: seed, receivingFrom: sending.state, settings)
    listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    listener.setBufferBytes(send: 64 << 10, receive: 64 << 10)
    endpoint = .tcp(host: "127.0.0.1", port: try listener.localPort())
  }

  var isConnected: Bool { connection != nil }

  func disconnect() {
    connection?.shutDown()
    connection = nil
    inbox = []
    recordBytesLeft = 0
    reported = nil
    isStreaming = false
    (named, compared) = (DiskExtents(), nil)
  }

  /// One turn: takes a connection, or what has arrived on it. Waits a few milliseconds at most.
  func step() throws {
    guard let connection else {
      guard listener.waitReadable(timeoutMilliseconds: 5), let next = try listener.accept()
      else { return }
      self.connection = next
      return
    }
    tellDigests()
    guard connection.waitReadable(timeoutMilliseconds: 5) else { return try report() }
    let limit = min(receiveLimit, bytesUntilCut ?? .max)
    guard let bytes = try? connection.receive(limit: max(limit, 1)) else { return disconnect() }
    if bytes.isEmpty { return disconnect() }
    if let rest = bytesUntilCut { bytesUntilCut = rest - bytes.count }
    inbox += bytes
    while try takeFrame() {}
    if let rest = bytesUntilCut, rest <= 0 {
      bytesUntilCut = nil
      return disconnect()
    }
    try report()
  }

  /// Steps until `condition` holds; an error after `seconds`.
  func run(seconds: Double = 30, until condition: () throws -> Bool) throws {
    let deadline = Date.now.addingTimeInterval(seconds)
    while try !condition() {
      guard Date.now < deadline else {
        throw Violation(description: "not reached within \(seconds) s")
      }
      try step()
    }
  }

  // MARK: Frames

  private func takeFrame() throws -> Bool {
    if recordBytesLeft > 0 { return try takeRecords() }
    guard inbox.count >= LinkFrame.byteCount else { return false }
    let parsed = unsafe inbox.withUnsafeBytes { unsafe LinkFrame(parsing: $0.baseAddress!) }
    guard let frame = parsed else { throw Violation(description: "not a frame") }
    if frame.kind == .records {
      try checkPosition(frame)
      framesSeen[.records, default: 0] += 1
      inbox.removeFirst(LinkFrame.byteCount)
      recordBytesLeft = frame.bodyByteCount
      return true
    }
    let end = LinkFrame.byteCount + frame.bodyByteCount
    guard inbox.count >= end else { return false }
    let body = Array(inbox[LinkFrame.byteCount..<end])
    inbox.removeFirst(end)
    framesSeen[frame.kind, default: 0] += 1
    try handle(frame, body)
    return true
  }

  private func handle(_ frame: LinkFrame, _ body: [UInt8]) throws {
    switch frame.kind {
    case .hello:
      hellos.append(try LinkHello(decoding: body))
      try welcome()
    case .begin: isStreaming = true
    case .cut:
      cuts.append(SequenceNumber(frame.argument))
      try group.cut(after: SequenceNumber(frame.argument))
      try welcome()
    case .owed:
      for extent in try LinkMessage.decodeLacking(body) where !owed.append(extent) {
        throw Violation(description: "\(extent) is not in order")
      }
    case .jump:
      guard let hello = hellos.last else { throw Violation(description: "a jump before a hello") }
      jumps.append(try LinkMessage.decodeJump(frame, body, of: hello, lacking: owed))
      owed = DiskExtents()
      // This one has no folder to go on in: it comes back with nothing.
      needsBaseline = true
      disconnect()
    case .copyBegin:
      needsBaseline = true
      isStreaming = true
      baselineEnd = nil
      if copies.last != frame.argument { stored = 0 }
      copies.append(frame.argument)
      try group.beginBaseline(.none, hellos.last?.lineage ?? Lineage())
    case .compare:
      for extent in try LinkMessage.decodeLacking(body) where !named.append(extent) {
        throw Violation(description: "\(extent) is not in order")
      }
      if frame.argument == 0 { compared = LackingBlocks(named) }
    case .baselineAlike: alikeByteCount += try BaselinePiece(decoding: body).range.length
    case .baselineConfirm:
      stored = frame.argument
      send(LinkFrame(.baselineStored, argument: stored), [])
    case .baselineBegin:
      compared = nil
      try group.beginBaseline(
        SequenceNumber(frame.argument), hellos.last?.lineage ?? Lineage())
    case .baselineData, .baselineZeros, .compressedBaseline: try takePiece(frame.kind, body)
    case .baselineEnd:
      baselineEnd = SequenceNumber(frame.argument)
      needsBaseline = false
    case .segment: try group.accept(segment: try SegmentHeader(decoding: body))
    case .compressedRecords:
      try checkPosition(frame)
      try takeCompressed(body)
    case .durable:
      let sequence = SequenceNumber(frame.argument)
      let holder = hellos.last?.lineage.holder(of: sequence)?.identifier
      ownerDurable = .init(holder ?? .none, sequence)
    case .diverged: divergence = String(decoding: body, as: UTF8.self)
    case .heartbeat: knownThrough = max(knownThrough, frame.argument)
    default: throw Violation(description: "unexpected \(frame.kind)")
    }
  }

  private func checkPosition(_ frame: LinkFrame) throws {
    let position = StreamPosition(argument: frame.argument)
    guard let expected = group.journal.acceptPosition, expected.segment == position.segment,
      expected.offset == Int(position.offset)
    else { throw Violation(description: "records at \(position) do not come next") }
  }

  private func takeRecords() throws -> Bool {
    let taken = try group.accept(Array(inbox.prefix(recordBytesLeft)))
    if taken == 0, inbox.count >= recordBytesLeft {
      throw Violation(description: "records end in the middle of one")
    }
    inbox.removeFirst(taken)
    recordBytesLeft -= taken
    return taken > 0
  }

  private func takeCompressed(_ body: [UInt8]) throws {
    var decoder = WireDecoder(body)
    var plain = [UInt8](repeating: 0, count: Int(try decoder.take(UInt32.self)))
    let count = unsafe body[4...].withUnsafeBytes { source in
      unsafe plain.withUnsafeMutableBytes { unsafe LZ4.decompress(source, into: $0) }
    }
    guard count == plain.count, try group.accept(plain) == plain.count else {
      throw Violation(description: "compressed records are not whole")
    }
  }

  private func takePiece(_ kind: LinkFrameKind, _ body: [UInt8]) throws {
    let piece = try BaselinePiece(decoding: Array(body.prefix(BaselinePiece.byteCount)))
    let store = group.stores[piece.disk.index]
    if kind == .baselineZeros { return try store.zero(piece.range, mayFreeSpace: true) }
    if kind == .compressedBaseline {
      var plain = [UInt8](repeating: 0, count: Int(piece.range.length))
      let count = unsafe body[BaselinePiece.byteCount...].withUnsafeBytes { source in
        unsafe plain.withUnsafeMutableBytes { unsafe LZ4.decompress(source, into: $0) }
      }
      guard count == plain.count else { throw Violation(description: "a piece is not whole") }
      return try unsafe plain.withUnsafeBytes { try unsafe store.write($0, at: piece.range.start) }
    }
    try unsafe body[BaselinePiece.byteCount...].withUnsafeBytes {
      try unsafe store.write($0, at: piece.range.start)
    }
  }

  // MARK: Answers

  func welcome() throws {
    let position = group.journal.acceptPosition
    let last = LastRecord.newest(group.journal.catalog, group.journal.watermarks)
    defer { claimedOffset = nil }
    send(
      LinkFrame(.welcome),
      LinkWelcome(
        site: "west", needsBaseline: needsBaseline,
        copy: .init(number: needsBaseline ? copies.last ?? 0 : 0, stored: stored),
        lineage: group.journal.lineage.holding(through: last.sequence), last: last,
        position: StreamPosition(
          segment: position?.segment ?? 0,
          offset: UInt32(claimedOffset ?? position?.offset ?? 0)),
        segmentIncarnation: group.journal.newestSegment?.header.incarnation.identifier ?? .none,
        ownerDurable: ownerDurable,
        applied: group.journal.applied, disks: disks
      ).encoded())
  }

  /// Of what is here now; zeros are left out.
  private func tellDigests() {
    var left = digestsPerStep
    while left > 0, let block = compared?.next {
      left -= 1
      compared?.pass()
      let content = group.stores[block.disk.index].bytes
      let bytes = Array(content[Int(block.range.start)..<Int(block.range.end)])
      let digest = unsafe bytes.withUnsafeBytes { unsafe BlockDigest(of: $0) }
      let digests = bytes.allSatisfy { $0 == 0 } ? [] : [digest]
      let position = digests.isEmpty ? block.end : block.start
      send(LinkFrame(.digests), LinkMessage.encodeDigests(digests, from: position))
    }
  }

  private func report() throws {
    let progress = LinkProgress(
      isRecoverable: !needsBaseline, received: group.journal.appended,
      durable: group.journal.durable, applied: group.journal.applied,
      durableTimestamp: Timestamp(rawValue: group.journal.watermarks[.durableTimestamp]))
    guard isStreaming, isConnected, progress != reported else { return }
    reported = progress
    send(LinkFrame(.progress), progress.encoded())
  }

  /// Sends a message; the few bytes fit the socket's buffer. A broken connection is no error.
  func send(_ frame: LinkFrame, _ body: [UInt8]) {
    var frame = frame
    frame.bodyByteCount = body.count
    sendRaw(frame.encoded + body)
  }

  func sendRaw(_ bytes: [UInt8]) {
    let sent = unsafe bytes.withUnsafeBytes { buffer in
      do throws(Errno) { return try unsafe connection?.send(buffer) == buffer.count } catch {
        return false
      }
    }
    if !sent { disconnect() }
  }
}
