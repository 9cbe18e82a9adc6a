import BlockModel
import Journal
import Storage
import SystemIO

/// What the peer says while records or a full copy are sent.
extension SendingStream {
  /// A message while records or a full copy are sent. `heard`: when it came.
  mutating func take(
    _ frame: LinkFrame, _ body: [UInt8], _ heard: UInt64
  ) throws(LinkError) {
    switch frame.kind {
    case .alive:
      noteSuccess(hasMore: false, heard)
      // What it refused before, it would have refused again by now.
      noteTaken()
    case .progress:
      let progress = try LinkProgress(decoding: body)
      try take(progress, heard)
    case .baselineStored:
      pace.noteConfirmed(nowNanoseconds: heard)
      parts.follower.debt.confirm(frame.argument)
      noteSuccess(hasMore: true, heard)
      look(by: heard)
    case .welcome:
      // Its disks have grown.
      let welcome = try LinkWelcome(decoding: body)
      monitor.update { $0.peerDisks = welcome.disks }
    case .lacking, .lackingEnd: try takeLacking(frame, body)
    case .digests: try takeDigests(body, heard)
    case .refused:
      throw .refused(String(oneLine: body))
    default:
      throw .protocolViolation("unexpected \(frame.kind)")
    }
  }

  private mutating func take(_ progress: LinkProgress, _ heard: UInt64) throws(LinkError) {
    guard progress.received <= parts.watermarks.sequence(.appended),
      progress.durable <= progress.received, progress.applied <= progress.durable
    else { throw .protocolViolation("the peer reports records that it cannot have") }
    let hasMore = progress.durable > parts.follower.durable
    parts.reporter.report(
      received: progress.received, durable: progress.durable, applied: progress.applied)
    let isCopied = copy == nil && !isReconciling
    monitor.update {
      $0.isRecoverable = progress.isRecoverable
      if progress.isRecoverable, isCopied {
        $0.sends(.connected)
        $0.syncProgress = nil
      }
    }
    if progress.isRecoverable, isCopied { parts.follower.debt.end() }
    noteSuccess(hasMore: hasMore, heard)
  }

  /// The peer has said something. That is a success if it has more than before, or all, or is at
  /// work on a full copy.
  private func noteSuccess(hasMore: Bool, _ now: UInt64) {
    let hasAll = parts.follower.durable >= parts.watermarks.sequence(.appended)
    var isSuccess = hasMore || hasAll
    monitor.update {
      isSuccess = isSuccess || $0.state == .syncing
      if isSuccess { $0.vitals.succeeded(now: now) }
    }
    if isSuccess { noteTaken() }
  }

  private func noteTaken() {
    var isNews = false
    monitor.update { isNews = $0.noteTaken() }
    if isNews { noteLinked() }
  }

  func noteLinked() {
    parts.log(
      "group \(parts.hello.groupName): linked to \(monitor.peerSite), "
        + "streaming from record \(parts.follower.received.rawValue + 1)")
  }
}
