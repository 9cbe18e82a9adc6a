import BlockModel
import Journal

/// The receiving end of one connection: what may come when, as a machine without a socket, a
/// journal or a clock. It looks at the bytes that have arrived and says what they ask for, a step
/// at a time; whoever has it does that, tells what came of it, and takes the bytes away.
///
/// Records are not copied: a step names how many bytes of them lie there.
public struct ReceivingLink {
  public enum Phase: Equatable, Sendable {
    /// The peer was not answered yet.
    case greeted
    /// A welcome was sent; `begin`, `cut` or `copyBegin` must come.
    case agreeing
    /// The journal is being set back, or what an earlier connection brought is being stored.
    case resetting
    case streaming
  }

  /// Where the journal here is.
  public struct Place: Sendable {
    /// Where the next record belongs; nil: in a segment that must begin first.
    public var position: StreamPosition?
    public var hasFreeSegment: Bool

    public init(_ position: StreamPosition?, hasFreeSegment: Bool) {
      self.position = position
      self.hasFreeSegment = hasFreeSegment
    }
  }

  @safe public enum Step {
    /// More must arrive first.
    case await
    /// A segment begins for which there is no file: nothing is taken until `resume`.
    case awaitRoom
    /// Nothing is to be done but to take the step's bytes away.
    case skip
    /// So many bytes of records lie there, of which some may be incomplete: `took` says how many
    /// were taken.
    case records(byteCount: Int)
    /// Whole records in LZ4: to be unpacked to so many bytes, of which `plainRecords` tells then.
    case packedRecords(UnsafeRawBufferPointer, plainByteCount: Int)
    /// What was unpacked last has these bytes left: `took` says how many were taken.
    case plainRecords(Range<Int>)
    case segment(SegmentHeader)
    /// Records follow what is here.
    case begin
    /// What is here after the record is void, or was given up.
    case cut(after: SequenceNumber, discarding: JournalState.OwnerMark?)
    /// A full copy of this number begins or goes on.
    case copy(UInt64, discarding: JournalState.OwnerMark?)
    /// The records after this one follow, beside what is left of the copy.
    case follow(after: SequenceNumber)
    case piece(BaselinePiece, ReceivedPiece)
    /// The peer is to be told what is here of these ranges, which are about to come.
    case compare(DiskExtents)
    /// A piece is not sent: what was told of it is what the peer has.
    case alike(BaselinePiece)
    /// The pieces so far are to be made durable, and the peer told by this number.
    case confirm(UInt64)
    case endCopy(JournalState.Mark)
    /// What is lacking here before the position comes with the records up to this one.
    case restamped(DiskPosition, by: SequenceNumber)
    /// All of it comes with the records up to this one.
    case reconciled(JournalState.Mark)
    /// The records that come next here were dropped: to go on behind them, by another connection.
    case jump(JumpPoint)
    /// This site is to own the group, with all records up to this one.
    case takeOver(SequenceNumber)
    case heartbeat(Timestamp)
    case ownerDurable(SequenceNumber)
    /// An operator must decide; the connection ends.
    case diverged(String)
  }

  /// The longest that packed records or a packed piece of a full copy may be when unpacked.
  public static let plainByteLimit = 2 * RecordHeader.payloadLimit
  /// Pieces of a full copy that wait to be written; above, the link is left unread.
  private static let pieceByteLimit = 32 << 20
  /// What each takes beside its bytes: pieces of few bytes, or of none, are bounded in number, too.
  private static let bytesBesidePiece = 256

  public private(set) var phase = Phase.greeted
  /// What the peer said last of itself.
  public private(set) var hello: LinkHello
  /// The full copy under way; 0 when there is none.
  public private(set) var copy: UInt64 = 0
  /// Records come beside what is left of it.
  public private(set) var isFollowing = false
  /// The peer was told what is lacking here, and has not said that all of it is in the order.
  public private(set) var awaitsLacking = false
  /// The next segment has no file yet.
  public private(set) var waitsForRoom = false
  /// A marker of a disk comes next, for which the group prepares.
  public private(set) var waitsForDisk = false
  /// Of the last step: to be taken away when it is done.
  public private(set) var stepByteCount = 0
  /// The peer waits to hear that what came so far is durable.
  private var isConfirming = false
  /// Of the frame of records that has begun.
  private var recordBytesLeft = 0
  /// Records that were unpacked and not taken yet.
  private var plainLeft = 0..<0
  private var pieceBytesPending = 0
  /// What records have changed that were dropped.
  private var owed = DiskExtents()
  /// What the peer compares; `isCompared`: it has named all of it.
  private var compared = DiskExtents()
  private var isCompared = false

  public init(_ hello: LinkHello) { self.hello = hello }

  /// Nothing is read from the peer for now.
  public var isPaused: Bool {
    waitsForRoom || waitsForDisk || phase == .resetting
      || pieceBytesPending > Self.pieceByteLimit
  }

  // MARK: What is done here

  /// A welcome comes later.
  public mutating func keepWaiting() { phase = .resetting }

  public mutating func welcomed() { phase = .agreeing }

  /// The journal was set back: pieces of the full copy, or records, can come.
  public mutating func baselineReady() { phase = .streaming }

  /// There is room, or may be.
  public mutating func resume() { waitsForRoom = false }

  /// The marker that comes next can be taken.
  public mutating func diskReady() { waitsForDisk = false }

  public mutating func confirmed() { isConfirming = false }

  /// The peer is told what is lacking.
  public mutating func toldLacking() { awaitsLacking = true }

  /// - Parameter byteCount: that are in memory; 0: zeros.
  public mutating func pieceWaits(_ byteCount: Int) {
    pieceBytesPending += byteCount + Self.bytesBesidePiece
  }

  public mutating func pieceStored(_ byteCount: Int) {
    pieceBytesPending -= byteCount + Self.bytesBesidePiece
    assert(pieceBytesPending >= 0)
  }

  /// Of the records that a step has named, so many bytes were taken. False when nothing more can be
  /// for now.
  ///
  /// - Parameter isBeforeDisk: they go on with a marker of a disk: nothing is taken until
  ///   `diskReady`.
  public mutating func took(
    _ byteCount: Int, of available: Int, isBeforeDisk: Bool
  ) throws(LinkError) -> Bool {
    waitsForDisk = isBeforeDisk
    if !plainLeft.isEmpty {
      plainLeft = plainLeft.lowerBound + byteCount..<plainLeft.upperBound
      if isBeforeDisk { return false }
      guard plainLeft.isEmpty else {
        throw .protocolViolation("compressed records end in the middle of one")
      }
      return true
    }
    precondition(byteCount <= recordBytesLeft)
    let hadAll = available == recordBytesLeft
    recordBytesLeft -= byteCount
    if isBeforeDisk { return false }
    if byteCount == 0, hadAll { throw .protocolViolation("records end in the middle of one") }
    return byteCount > 0
  }

  // MARK: What has come

  /// What the bytes that have arrived ask for next.
  public mutating func next(
    _ arrived: UnsafeRawBufferPointer, _ place: Place
  ) throws(LinkError) -> Step {
    stepByteCount = 0
    if isPaused { return .await }
    if !plainLeft.isEmpty { return .plainRecords(plainLeft) }
    if recordBytesLeft > 0 { return .records(byteCount: min(recordBytesLeft, arrived.count)) }
    guard arrived.count >= LinkFrame.byteCount, let base = arrived.baseAddress else {
      return .await
    }
    guard let frame = unsafe LinkFrame(parsing: base) else {
      throw .protocolViolation("not a frame")
    }
    if frame.kind == .records {
      try check(frame, continues: place)
      stepByteCount = LinkFrame.byteCount
      recordBytesLeft = frame.bodyByteCount
      return .skip
    }
    let byteCount = LinkFrame.byteCount + frame.bodyByteCount
    guard arrived.count >= byteCount else { return .await }
    if frame.kind == .segment, !place.hasFreeSegment {
      waitsForRoom = true
      return .awaitRoom
    }
    stepByteCount = byteCount
    let body = unsafe UnsafeRawBufferPointer(
      rebasing: arrived[LinkFrame.byteCount..<byteCount])
    return try unsafe take(frame, body, place)
  }

  private mutating func take(
    _ frame: LinkFrame, _ body: UnsafeRawBufferPointer, _ place: Place
  ) throws(LinkError) -> Step {
    switch phase {
    case .agreeing: return try unsafe takeAgreeing(frame, body)
    case .streaming: return try unsafe takeStreaming(frame, body, place)
    case .greeted, .resetting: throw .protocolViolation("unexpected \(frame.kind)")
    }
  }

  private mutating func takeAgreeing(
    _ frame: LinkFrame, _ body: UnsafeRawBufferPointer
  ) throws(LinkError) -> Step {
    switch frame.kind {
    case .begin:
      phase = .streaming
      return .begin
    case .cut:
      phase = .resetting
      return .cut(
        after: SequenceNumber(frame.argument),
        discarding: try unsafe LinkMessage.decodeDiscarded(Array(body)))
    case .copyBegin:
      phase = .resetting
      copy = frame.argument
      return .copy(copy, discarding: try unsafe LinkMessage.decodeDiscarded(Array(body)))
    case .owed:
      for extent in try unsafe LinkMessage.decodeLacking(Array(body)) {
        guard owed.append(extent) else {
          throw .protocolViolation("what was dropped is not named in order")
        }
      }
      return .skip
    case .jump:
      phase = .resetting
      return .jump(
        try LinkMessage.decodeJump(frame, unsafe Array(body), of: hello, lacking: owed))
    case .diverged: return .diverged(unsafe String(oneLine: body))
    default: throw .protocolViolation("unexpected \(frame.kind)")
    }
  }

  private mutating func takeStreaming(
    _ frame: LinkFrame, _ body: UnsafeRawBufferPointer, _ place: Place
  ) throws(LinkError) -> Step {
    switch frame.kind {
    case .segment:
      guard let header = try? SegmentHeader(decoding: unsafe Array(body)) else {
        throw .protocolViolation("segment header is malformed")
      }
      return .segment(header)
    case .compressedRecords:
      try check(frame, continues: place)
      return try unsafe packedRecords(body)
    case .heartbeat: return .heartbeat(Timestamp(rawValue: frame.argument))
    case .durable: return .ownerDurable(SequenceNumber(frame.argument))
    case .takeOver: return .takeOver(SequenceNumber(frame.argument))
    case .hello:
      try greetAgain(try unsafe LinkHello(decoding: Array(body)))
      return .skip
    case .baselineConfirm, .baselineData, .baselineZeros, .compressedBaseline, .baselineBegin,
      .baselineEnd, .compare, .baselineAlike:
      return try unsafe takeCopying(frame, body)
    case .restamped where awaitsLacking:
      return .restamped(
        try unsafe LinkMessage.decodePosition(Array(body)), by: SequenceNumber(frame.argument))
    case .reconciled where awaitsLacking:
      awaitsLacking = false
      return .reconciled(
        .init(
          SequenceNumber(frame.argument),
          try unsafe LinkMessage.decodeTimestamp(
            Array(body), of: "the end of what is lacking here")))
    default: throw .protocolViolation("unexpected \(frame.kind)")
    }
  }

  private mutating func takeCopying(
    _ frame: LinkFrame, _ body: UnsafeRawBufferPointer
  ) throws(LinkError) -> Step {
    guard copy != 0 else { throw .protocolViolation("unexpected \(frame.kind)") }
    switch frame.kind {
    case .baselineBegin where !isFollowing:
      guard frame.argument <= SequenceNumber.limit.rawValue else {
        throw .protocolViolation("records after \(frame.argument) cannot be counted")
      }
      phase = .resetting
      isFollowing = true
      return .follow(after: SequenceNumber(frame.argument))
    case .baselineConfirm where !isConfirming:
      isConfirming = true
      return .confirm(frame.argument)
    case .baselineData, .baselineZeros, .compressedBaseline:
      return try unsafe piece(frame.kind, body)
    case .compare where !isFollowing && !isCompared:
      return try unsafe takeCompared(frame, Array(body))
    case .baselineAlike where !isFollowing && isCompared:
      return .alike(try unsafe BaselinePiece(decoding: Array(body)))
    case .baselineEnd where isFollowing:
      copy = 0
      return .endCopy(
        .init(
          SequenceNumber(frame.argument),
          try unsafe LinkMessage.decodeTimestamp(Array(body), of: "end of a full copy")))
    default: throw .protocolViolation("unexpected \(frame.kind)")
    }
  }

  private mutating func takeCompared(
    _ frame: LinkFrame, _ body: [UInt8]
  ) throws(LinkError) -> Step {
    for extent in try LinkMessage.decodeLacking(body) {
      let end = hello.disks[extent.disk]?.byteCount ?? 0
      guard extent.range.end <= end, compared.append(extent) else {
        throw .protocolViolation("what is to be compared is not in order, or outside of a disk")
      }
    }
    isCompared = frame.argument == 0
    guard isCompared else { return .skip }
    defer { compared = DiskExtents() }
    return .compare(compared)
  }

  /// Its disks have grown, come or left. Whatever else it names was looked at when the first hello
  /// came, and must be what it was: it goes into the log and into the state file.
  private mutating func greetAgain(_ again: LinkHello) throws(LinkError) {
    var expected = hello
    expected.claim = again.claim
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

  private func check(_ frame: LinkFrame, continues place: Place) throws(LinkError) {
    guard phase == .streaming else { throw .protocolViolation("unexpected \(frame.kind)") }
    let position = StreamPosition(argument: frame.argument)
    guard position == place.position else {
      throw .protocolViolation(
        "records for segment \(position.segment) at \(position.offset) do not continue what is "
          + "here")
    }
  }

  private mutating func packedRecords(
    _ body: UnsafeRawBufferPointer
  ) throws(LinkError) -> Step {
    let prefix = 4
    guard body.count > prefix, let base = body.baseAddress else {
      throw .protocolViolation("compressed records are malformed")
    }
    let count = Int(unsafe UInt32(bigEndian: base.loadUnaligned(as: UInt32.self)))
    guard count <= Self.plainByteLimit else {
      throw .protocolViolation("compressed records too long")
    }
    plainLeft = 0..<count
    return unsafe .packedRecords(
      UnsafeRawBufferPointer(rebasing: body[prefix...]), plainByteCount: count)
  }

  private func piece(
    _ kind: LinkFrameKind, _ body: UnsafeRawBufferPointer
  ) throws(LinkError) -> Step {
    let prefix = BaselinePiece.byteCount
    guard body.count >= prefix else { throw .protocolViolation("baseline piece is malformed") }
    let piece = try unsafe BaselinePiece(decoding: Array(body[..<prefix]))
    let bytes = unsafe UnsafeRawBufferPointer(rebasing: body[prefix...])
    switch kind {
    case .baselineZeros: return .piece(piece, .zeros)
    case .compressedBaseline: return unsafe .piece(piece, .packed(bytes))
    default: return unsafe .piece(piece, .plain(bytes))
    }
  }
}
