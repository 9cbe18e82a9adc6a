import BlockModel
import Journal
import Replication

/// The messages of the link: whatever is decoded is encoded and decoded again as the same.
enum LinkMessageCheck {
  /// Decodes every frame's body as every message, right or wrong.
  static func check(_ stream: [UInt8]) throws(FuzzViolation) {
    var rest = stream[...]
    while rest.count >= LinkFrame.byteCount {
      let parsed = unsafe withExactCopy(of: rest.prefix(LinkFrame.byteCount)) { header in
        unsafe LinkFrame(parsing: header.baseAddress.unsafelyUnwrapped)
      }
      guard let frame = parsed else { return }
      try require(
        frame.bodyByteCount <= LinkFrame.bodyLimit(of: frame.kind),
        "a body of \(frame.bodyByteCount)")
      let again = frame.encoded
      try require(
        Array(again.prefix(2)) == Array(rest.prefix(2))
          && Array(again.dropFirst(4)) == Array(rest.prefix(16).dropFirst(4)),
        "\(frame) is not what was sent")
      rest = rest.dropFirst(LinkFrame.byteCount)
      try checkBody(Array(rest.prefix(frame.bodyByteCount)))
      rest = rest.dropFirst(frame.bodyByteCount)
    }
  }

  private static func checkBody(_ body: [UInt8]) throws(FuzzViolation) {
    if let hello = try? LinkHello(decoding: body) {
      try require((try? LinkHello(decoding: hello.encoded())) == hello, "\(hello) changes")
    }
    if let welcome = try? LinkWelcome(decoding: body) {
      try require((try? LinkWelcome(decoding: welcome.encoded())) == welcome, "\(welcome) changes")
      try checkResume(welcome)
    }
    if let progress = try? LinkProgress(decoding: body) {
      try require(
        (try? LinkProgress(decoding: progress.encoded())) == progress, "\(progress) changes")
    }
    if let piece = try? BaselinePiece(decoding: body) {
      try require((try? BaselinePiece(decoding: piece.encoded())) == piece, "\(piece) changes")
      try require(piece.range.end >= piece.range.start, "a piece that wraps")
    }
    if let header = try? SegmentHeader(decoding: body) {
      try require((try? SegmentHeader(decoding: header.encoded())) == header, "\(header) changes")
    }
  }

  /// A sender with three epochs and records 6…30 decides what such a receiver gets.
  private static func checkResume(_ welcome: LinkWelcome) throws(FuzzViolation) {
    let lineage = Lineage([
      SegmentWriter.incarnation(1), SegmentWriter.incarnation(2, after: 10),
      SegmentWriter.incarnation(5, after: 20),
    ])
    let (last, oldest) = (SequenceNumber(30), SequenceNumber(6))
    let owner = SiteHistory(lineage, last: .init(last, .zero))
    switch ResumeDecision.decide(welcome, owner: owner, oldest: oldest) {
    case .resume:
      try require(
        welcome.sequence <= last && welcome.sequence.rawValue >= 5 && !welcome.needsBaseline,
        "a receiver at \(welcome.sequence.rawValue) goes on")
    case .cut(let after):
      try require(
        after < welcome.sequence && after >= welcome.applied && !welcome.needsBaseline,
        "a receiver at \(welcome.sequence.rawValue) is cut to \(after.rawValue)")
    case .jump(let jump):
      try require(
        jump == .everything && !welcome.needsBaseline, "a jump behind what was never dropped")
    case .baseline, .diverged: break
    }
  }
}
