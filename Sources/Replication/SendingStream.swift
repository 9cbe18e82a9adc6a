import BlockModel
import Journal
import Storage
import SystemIO

/// The streaming part of one connection: where the sender is in the journal, and what it sends
/// next. A value that reads nothing but what is in memory; it owns the pin on the segment that is
/// sent.
///
/// What is waited for is sent at once, and so is the first record after a rest. Other small batches
/// wait a moment for more, so that at most so many are sent in a second.
struct SendingStream<Store: BackingStore>: ~Copyable {
  typealias Parts = SendingLink<Store>.Parts

  /// Batches below this are followed by a pause.
  static var smallBatchByteCount: Int { 256 << 10 }
  static var pauseNanoseconds: UInt64 { 20_000_000 }
  private static var turnByteLimit: Int { 16 << 20 }
  private static var heartbeatNanoseconds: UInt64 { 100_000_000 }

  let parts: Parts
  let monitor: LinkMonitor
  /// What the peer was told last.
  var hello: LinkHello
  /// What it wants to be done; the link takes it.
  var output = LinkOutput()
  /// When it wants to look again, if nothing happens before; monotonic.
  var wake = UInt64.max
  /// Somebody waits until this record is with the peer.
  private var awaitedThrough = SequenceNumber.none

  // Where it is.

  /// Pinned while it is sent.
  var segment: Segment<File>?
  var offset = 0
  /// While no segment is sent: the record with which the next one begins.
  var awaited: UInt64 = 0
  /// The next record that cannot be sent as it is in the journal, as far as is known.
  var damage: DamagedRecord?
  var repairs: RepairWork<Store>

  // The full copy; see `SendingCopy.swift`.

  var copy: CopyReading<Store>?
  /// What the receiver has said of what it is to get; nil: it was not asked.
  var comparison: CopyComparison?
  /// It has said more since a piece was asked for.
  var hasHeardDigests = false
  var pace = CopyPace(total: 0, lacking: 0, nowNanoseconds: 0)
  /// What all of its pieces that are still to come hold at least.
  var copiedThrough: UInt64 = 0
  /// The record for which the segment that holds it cannot be sent, as far as is known.
  var loss: DamagedRecord?
  /// The segment that was looked at for damage last, before records follow.
  var surveyed: UInt32 = 0
  /// How far the base was then.
  var surveyedAt: UInt64 = 0
  /// After a few pieces all records go that there are, but not without end.
  var isRecordsTurn = false
  var turnByteCount = 0

  /// What the follower has named so far of what it lacks, and after which record; see
  /// `SendingLacking.swift`.
  var lacking: (extents: DiskExtents, after: SequenceNumber)?
  /// All of that was named on this connection.
  var hasNamedLacking = false
  /// Not all of that is in the order.
  var isReconciling = false

  // When it sends.

  /// The journal tells when it grows.
  private var isArmed = false
  /// Until then, small batches wait for more.
  var pauseEnd: UInt64 = 0
  /// Records were sent since the last pause.
  var hasSent = false
  private var lastHeartbeat: UInt64 = 0
  /// Of what the peer was told that it is durable here.
  var toldDurable: UInt64 = 0
  private var lastDurableTold: UInt64 = 0

  // How it sends.

  var policy = CompressionPolicy()
  let reading = SegmentReading()
  let packed = PageBuffer(byteCount: LZ4.compressedLimit(SegmentReading.byteLimit) + 4)
  /// What is being sent, and since when.
  private var measured: (byteCount: Int, start: UInt64)?

  init(_ parts: Parts, hello: LinkHello, monitor: LinkMonitor) {
    self.parts = parts
    self.hello = hello
    self.monitor = monitor
    repairs = RepairWork(parts.disks.stores)
  }

  /// No more is sent.
  mutating func end() {
    segment?.unpin()
    segment = nil
    output.removeAll()
    monitor.lack.withdraw()
  }

  // MARK: Going on

  /// Throws when nothing is kept for the peer any more that it lacks.
  func checkIsKept() throws(LinkError) {
    if parts.follower.isDetached, copy == nil || pace.isFollowing { throw .tooFarBehind }
  }

  /// Puts what comes next into `output`, a part at a time. Called when everything before was sent
  /// and no work is under way.
  mutating func go(_ now: UInt64) throws(LinkError) {
    wake = now + Self.heartbeatNanoseconds
    try tellGrowth()
    try tellRestamped()
    let hadTurn = isRecordsTurn
    if !hadTurn { turnByteCount = 0 }
    if copy != nil, !hadTurn, try goOnCopying(now) { return }
    isRecordsTurn = false
    if try sendRecords(now) {
      isRecordsTurn = copy != nil && turnByteCount < Self.turnByteLimit
      tellDurable(now)
      sendHeartbeat(now)
      return
    }
    if copy != nil, hadTurn, try goOnCopying(now) { return }
    tellDurable(now)
    rest(now)
  }

  /// Nothing is to be sent at this moment.
  private mutating func rest(_ now: UInt64) {
    if now < pauseEnd, !isAwaited { return look(by: pauseEnd) }
    sendHeartbeat(now)
    // The copy goes on by itself.
    if copy != nil { return }
    if !isArmed {
      isArmed = true
      parts.follower.arm()
    }
    if hasRecords { look(by: now) }
  }

  mutating func look(by time: UInt64) { wake = min(wake, time) }

  /// What was promised here comes before what the next owner stamps.
  mutating func handOver(through sequence: SequenceNumber) {
    let complete = parts.watermarks[.completeThrough]
    if copy == nil, !hasRecords { output.put(LinkFrame(.heartbeat, argument: complete)) }
    output.put(LinkFrame(.takeOver, argument: sequence.rawValue))
  }

  /// Somebody waits until what is appended by now is with the peer.
  mutating func hurry() { awaitedThrough = parts.watermarks.sequence(.appended) }

  var isAwaited: Bool { parts.follower.durable < awaitedThrough }

  /// The journal has grown.
  mutating func hasGrown() { isArmed = false }

  /// What `go` has put out was sent.
  ///
  /// - Parameter hasWaited: the link was the bottleneck.
  mutating func sent(hasWaited: Bool, _ now: UInt64) {
    if hasWaited, let measured {
      policy.noteSent(byteCount: measured.byteCount, nanoseconds: now &- measured.start)
    }
    measured = nil
  }

  mutating func measure(_ byteCount: Int, since start: UInt64) { measured = (byteCount, start) }

  /// Disks have become larger, have come or left: says hello again. A full copy is of the disks
  /// that it began with, so another connection goes on with it.
  private mutating func tellGrowth() throws(LinkError) {
    let disks = parts.disks.noted
    if hello.disks == disks { return }
    if disks.map(\.number) != hello.disks.map(\.number) {
      if copy != nil { throw .local("disks have come or left: the full copy goes on with them") }
      repairs = RepairWork(parts.disks.stores)
    }
    hello = parts.presentHello
    output.put(LinkFrame(.hello), hello.encoded())
  }

  /// What is durable here is not lost at a power cut: the peer may tell one from worse by it.
  private mutating func tellDurable(_ now: UInt64) {
    let durable = parts.watermarks[.durable]
    guard durable > toldDurable, now &- lastDurableTold >= Self.heartbeatNanoseconds else { return }
    lastDurableTold = now
    toldDurable = durable
    output.put(LinkFrame(.durable, argument: durable))
  }

  private mutating func sendHeartbeat(_ now: UInt64) {
    guard copy == nil, now &- lastHeartbeat >= Self.heartbeatNanoseconds else { return }
    // The mark is read before the journal is looked at: whatever is appended later is later.
    let complete = parts.watermarks[.completeThrough]
    guard !hasRecords else { return }
    lastHeartbeat = now
    output.put(LinkFrame(.heartbeat, argument: complete))
    if parts.follower.durable == parts.watermarks.sequence(.appended) {
      monitor.update { $0.completeThroughNanoseconds = complete }
    }
  }
}
