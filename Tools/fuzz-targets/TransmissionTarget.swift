import NBDProtocol

/// The transmission phase. An input: `TransmissionSettings`, then what a client sends.
enum TransmissionTarget {
  static func run(_ input: [UInt8]) throws(FuzzViolation) {
    var input = FuzzInput(input)
    let settings = TransmissionSettings(&input)
    try check(
      stream: input.remainder()[...], settings.session, settings.limits, settings.choices)
  }

  /// Plays the stream whole and in pieces, and checks what came of it.
  static func check(
    stream: ArraySlice<UInt8>, _ session: NBDSession, _ limits: NBDLimits, _ choices: Choices
  ) throws(FuzzViolation) {
    let whole = try RequestPlayer.play(stream, session, limits, .whole)
    let pieces = try RequestPlayer.play(stream, session, limits, .pieces(choices))
    try require(whole == pieces, "the steps depend on the pieces: \(whole) or \(pieces)")
    let judge = RequestJudge(session: session, limits: limits, stream: stream)
    try judge.check(whole)
    for (index, event) in whole.events.prefix(replyLimit).enumerated() {
      var choices = choices
      choices.skip(index)
      try ReplyTarget.check(event, stream, session, choices)
    }
  }

  /// Requests of one input whose replies are made; more would only make it slow.
  private static let replyLimit = 32
}

extension Choices {
  mutating func skip(_ count: Int) { self = Choices(next() &+ UInt64(count)) }
}

/// Eight bytes: headers and flags of the export, its size, number of contexts, limits, a seed (4).
struct TransmissionSettings {
  let session: NBDSession
  let limits: NBDLimits
  let choices: Choices

  private static let sizes: [UInt64] = [
    0, 1, 511, 4096, 1 << 20, (8 << 20) + 3, 1 << 30, 1 << 32, 15 << 40, UInt64(Int64.max),
  ]

  init(_ input: inout FuzzInput) {
    let flags = input.byte()
    let size = Self.sizes[input.below(Self.sizes.count)]
    let contextCount = input.below(NBDLimits.maximumContexts + 1)
    let headers: NBDHeaderStyle =
      switch flags & 3 {
      case 0: .simple
      case 1: .structured
      default: .extended
      }
    let export = NBDExport(
      name: "disk", sizeBytes: size, isReadOnly: flags & 4 != 0, canMultiConn: flags & 8 != 0,
      canFastZero: flags & 16 != 0)
    let contexts = (0..<contextCount).map {
      NBDMetaContext(identifier: UInt32($0), name: "x:\($0)")
    }
    session = NBDSession(
      export: export, headers: headers, contexts: headers == .simple ? [] : contexts)
    limits = Self.limits(input.byte())
    choices = Choices(UInt64(input.integer(UInt32.self)))
  }

  static func limits(_ choice: UInt8) -> NBDLimits {
    switch choice % 3 {
    case 0: NBDLimits()
    case 1: NBDLimits(maximumPayloadBytes: 4096, maximumDrainedPayloadBytes: 4096)
    default:
      NBDLimits(
        maximumPayloadBytes: 5000, maximumDrainedPayloadBytes: 6000, maximumOptionDataBytes: 200,
        maximumSkippedOptionDataBytes: 300, maximumOptionCount: 6)
    }
  }
}

/// What was made of a stream.
struct PlayedRequests: Equatable {
  struct Event: Equatable {
    /// In the stream: where the header begins, and what was consumed before the step was told.
    let start: Int
    let end: Int
    let step: NBDRequestStream.Step
  }

  var events: [Event] = []
  /// Where the bytes begin that belong to no event and to no payload of one. At the end of the
  /// stream when it ends inside of a payload.
  var rest = 0
  var isInPayload = false
}

/// Owns a `NBDRequestStream` as a connection does.
enum RequestPlayer {
  static func play(
    _ stream: ArraySlice<UInt8>, _ session: NBDSession, _ limits: NBDLimits, _ delivery: Delivery
  ) throws(FuzzViolation) -> PlayedRequests {
    let result = unsafe withExactCopy(of: stream) {
      bytes -> Result<PlayedRequests, FuzzViolation> in
      do throws(FuzzViolation) {
        return .success(try unsafe play(bytes, session, limits, delivery))
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  private static func play(
    _ bytes: UnsafeRawBufferPointer, _ session: NBDSession, _ limits: NBDLimits,
    _ delivery: Delivery
  ) throws(FuzzViolation) -> PlayedRequests {
    var delivery = delivery
    var machine = NBDRequestStream(NBDExportLimits(session, limits: limits))
    var played = PlayedRequests()
    var (position, arrived, owed) = (0, 0, 0)
    while true {
      let taken = min(owed, arrived - position)
      position += taken
      owed -= taken
      if taken > 0 { played.rest = position }
      if owed == 0 {
        let available = unsafe UnsafeRawBufferPointer(rebasing: bytes[position..<arrived])
        let (consumed, step) = unsafe machine.next(available)
        try require(
          0...available.count ~= consumed, "\(consumed) bytes consumed of \(available.count)")
        position += consumed
        if step != .wait {
          played.events.append(.init(start: played.rest, end: position, step: step))
          played.rest = position
          owed = payloadBytes(step)
          if case .disconnect = step { return played }
          continue
        }
      }
      if arrived == bytes.count { break }
      arrived += delivery.nextPiece(bytes.count - arrived)
    }
    played.isInPayload = owed > 0 || machine.isDraining
    return played
  }

  /// Of the payload that the owner takes.
  private static func payloadBytes(_ step: NBDRequestStream.Step) -> Int {
    switch step {
    case .execute(.write, let request), .execute(.filteredBlockStatus, let request):
      Int(request.length)
    default: 0
    }
  }
}
