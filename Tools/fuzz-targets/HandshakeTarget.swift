import BlockModel
import NBDProtocol

/// The handshake. An input: `HandshakeSettings`, then what a client sends. Where the handshake
/// leads to transmission, the rest of the stream is played as requests of the session agreed on.
enum HandshakeTarget {
  static func run(_ input: [UInt8]) throws(FuzzViolation) {
    var input = FuzzInput(input)
    let settings = HandshakeSettings(&input)
    let stream = input.remainder()
    let whole = try HandshakePlayer.play(stream[...], settings, .whole)
    let pieces = try HandshakePlayer.play(stream[...], settings, .pieces(settings.choices))
    try require(whole == pieces, "the actions depend on the pieces: \(whole) or \(pieces)")
    try HandshakeJudge(settings: settings, stream: stream[...]).check(whole)
    if case .beginTransmission(let session) = whole.actions.last {
      try TransmissionTarget.check(
        stream: Array(stream.dropFirst(whole.consumed))[...], session, settings.limits,
        settings.choices)
    }
  }
}

/// Eight bytes: policy and limits, the disk, two that are free, a seed (4).
struct HandshakeSettings {
  let tls: NBDTLSPolicy
  let limits: NBDLimits
  let disk: NBDExport
  let choices: Choices

  static let view = NBDExport(
    name: "disk@-90s", sizeBytes: 512, isReadOnly: true, canMultiConn: false)
  static let contexts = ["base:allocation", "tapline:changed-since:-1h"]

  init(_ input: inout FuzzInput) {
    let first = input.byte()
    switch first & 3 {
    case 0: tls = .optional
    case 1: tls = .required
    default: tls = .off
    }
    limits = TransmissionSettings.limits(first >> 2)
    let second = input.byte()
    disk = NBDExport(
      name: "disk", description: second & 1 == 0 ? "" : "first disk",
      sizeBytes: second & 2 == 0 ? 8 << 20 : UInt64(Int64.max), isReadOnly: second & 4 != 0,
      canMultiConn: second & 8 != 0, canFastZero: second & 16 != 0)
    _ = input.integer(UInt16.self)
    choices = Choices(UInt64(input.integer(UInt32.self)))
  }
}

/// What was made of a stream.
struct PlayedHandshake: Equatable {
  var actions: [NBDHandshake.Action] = []
  /// Of the stream.
  var consumed = 0
  var isEnded = false
}

/// Owns a `NBDHandshake` as a connection does.
struct HandshakePlayer {
  private let settings: HandshakeSettings
  private var machine: NBDHandshake
  private var played = PlayedHandshake()
  private var question: NBDHandshake.Action?

  private init(_ settings: HandshakeSettings) {
    self.settings = settings
    machine = NBDHandshake(limits: settings.limits, tls: settings.tls)
  }

  static func play(
    _ stream: ArraySlice<UInt8>, _ settings: HandshakeSettings, _ delivery: Delivery
  ) throws(FuzzViolation) -> PlayedHandshake {
    let result = unsafe withExactCopy(of: stream) {
      bytes -> Result<PlayedHandshake, FuzzViolation> in
      var player = HandshakePlayer(settings)
      do throws(FuzzViolation) {
        try unsafe player.play(bytes, delivery)
        return .success(player.played)
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  private mutating func play(
    _ bytes: UnsafeRawBufferPointer, _ delivery: Delivery
  ) throws(FuzzViolation) {
    var delivery = delivery
    var arrived = 0
    record(machine.start())
    while true {
      let available = unsafe UnsafeRawBufferPointer(rebasing: bytes[played.consumed..<arrived])
      let isWaiting = question != nil || played.isEnded
      let (consumed, actions) = unsafe machine.receive(available)
      try require(
        0...available.count ~= consumed, "\(consumed) bytes consumed of \(available.count)")
      try require(
        !isWaiting || (consumed == 0 && actions.isEmpty), "bytes were consumed out of turn")
      played.consumed += consumed
      record(actions)
      try require(
        consumed == available.count || question != nil || played.isEnded || !actions.isEmpty,
        "\(available.count - consumed) bytes were left although nothing is asked")
      // Most answers take their time: meanwhile more arrives.
      if case .pieces = delivery, question != nil, arrived < bytes.count {
        arrived += delivery.nextPiece(bytes.count - arrived)
        let early = unsafe UnsafeRawBufferPointer(rebasing: bytes[played.consumed..<arrived])
        let (taken, _) = unsafe machine.receive(early)
        try require(taken == 0, "bytes were consumed while a question is open")
      }
      if let open = question {
        question = nil
        record(try answer(open))
        continue
      }
      if consumed > 0 || (!actions.isEmpty && !played.isEnded) { continue }
      if arrived == bytes.count { return }
      arrived += delivery.nextPiece(bytes.count - arrived)
    }
  }

  private mutating func record(_ actions: [NBDHandshake.Action]) {
    played.actions += actions
    for action in actions {
      switch action {
      case .send: break
      case .listExports, .lookUpExport, .findContexts: question = action
      case .startTLS: machine.tlsStarted()
      case .beginTransmission, .close: played.isEnded = true
      }
    }
  }

  private mutating func answer(
    _ question: NBDHandshake.Action
  ) throws(FuzzViolation) -> [NBDHandshake.Action] {
    switch question {
    case .listExports:
      return machine.exportsListed([
        NBDExportListing(name: "disk", description: settings.disk.description),
        NBDExportListing(name: "second"),
      ])
    case .lookUpExport(let name, _):
      try require(NBDExport.isValidName(name), "an export called \(name)")
      return lookUp(name)
    case .findContexts(let request):
      try require(
        NBDExport.isValidName(request.exportName), "an export called \(request.exportName)")
      try require(
        request.queries.count <= NBDLimits.maximumContextQueries
          && request.queries.allSatisfy(NBDExport.isValidName), "\(request.queries.count) queries")
      return find(request)
    default: throw FuzzViolation("\(question) is no question")
    }
  }

  private mutating func lookUp(_ name: String) -> [NBDHandshake.Action] {
    // What a site does with the name first.
    _ = try? ExportName(parsing: name)
    switch name {
    case "disk", "": return machine.exportFound(settings.disk)
    case "disk@-90s": return machine.exportFound(HandshakeSettings.view)
    case "secret": return machine.exportRefused(.notPermitted(message: "not for \(name)"))
    case "late": return machine.exportRefused(.shuttingDown)
    default: return machine.exportRefused(.unknown(message: "no disk \(name) at this site"))
    }
  }

  private mutating func find(_ request: NBDContextRequest) -> [NBDHandshake.Action] {
    guard ["disk", "disk@-90s", ""].contains(request.exportName) else {
      return machine.exportRefused(.unknown(message: "no disk \(request.exportName)"))
    }
    // With names that the client chose: they may be as long as names can be.
    let isMany = request.queries.contains("many:")
    let known = request.queries.filter { HandshakeSettings.contexts.contains($0) || isMany }
    var seen = Set<String>()
    let names = known.filter { seen.insert($0).inserted }
    let listsAll = request.intent == .list && request.queries.isEmpty
    return machine.contextsFound(listsAll ? HandshakeSettings.contexts : names)
  }
}
