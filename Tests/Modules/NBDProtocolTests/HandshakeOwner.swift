import NBDProtocol

/// Plays the owner of a handshake: keeps what was not consumed, answers questions at once or after
/// more input has arrived, and records every action.
struct HandshakeOwner {
  static let disk = NBDExport(
    name: "disk", description: "first disk", sizeBytes: 0x1_0000_2000, isReadOnly: false,
    canMultiConn: true)
  static let view = NBDExport(
    name: "disk@-90s", sizeBytes: 512, isReadOnly: true, canMultiConn: false)

  private var machine: NBDHandshake
  private(set) var actions: [NBDHandshake.Action] = []
  private(set) var unconsumed: [UInt8] = []
  private(set) var isEnded = false
  private var openQuestion: NBDHandshake.Action?
  /// Pieces of input that arrive between a question and its answer.
  private let answerDelay: Int
  private var piecesSinceQuestion = 0
  var listings = [
    NBDExportListing(name: "disk", description: "first disk"), NBDExportListing(name: "b"),
  ]

  init(
    limits: NBDLimits = NBDLimits(), tls: NBDTLSPolicy = .off, answerDelay: Int = 0
  ) {
    machine = NBDHandshake(limits: limits, tls: tls)
    self.answerDelay = answerDelay
    record(machine.start())
  }

  /// Feeds one piece as it would come from a socket.
  mutating func feed(_ piece: some Sequence<UInt8>) {
    unconsumed.append(contentsOf: piece)
    if openQuestion != nil { piecesSinceQuestion += 1 }
    answerIfDue()
    offer()
  }

  /// Answers what is still open, as when a slow look-up ends after the last byte arrived.
  mutating func finish() {
    piecesSinceQuestion = answerDelay
    while openQuestion != nil {
      answerIfDue()
      offer()
      piecesSinceQuestion = answerDelay
    }
  }

  private mutating func offer() {
    while true {
      let (consumed, newActions) = unsafe unconsumed.withUnsafeBytes {
        unsafe machine.receive($0)
      }
      unconsumed.removeFirst(consumed)
      record(newActions)
      guard openQuestion != nil, answerDelay == 0 else { return }
      answerIfDue()
    }
  }

  private mutating func answerIfDue() {
    guard let question = openQuestion, piecesSinceQuestion >= answerDelay else { return }
    openQuestion = nil
    switch question {
    case .listExports:
      record(machine.exportsListed(listings))
    case .lookUpExport(let name, _):
      record(answer(name))
    case .findContexts(let request):
      record(answer(request))
    default:
      break
    }
  }

  private mutating func answer(_ name: String) -> [NBDHandshake.Action] {
    switch name {
    case "disk", "": machine.exportFound(Self.disk)
    case "disk@-90s": machine.exportFound(Self.view)
    case "secret": machine.exportRefused(.notPermitted(message: "not for you"))
    case "late": machine.exportRefused(.shuttingDown)
    default: machine.exportRefused(.unknown(message: "no such export"))
    }
  }

  /// The contexts of the two exports.
  static let contexts = ["base:allocation", "x-test:even"]

  private mutating func answer(_ request: NBDContextRequest) -> [NBDHandshake.Action] {
    guard ["disk", "disk@-90s"].contains(request.exportName) else {
      return answer(request.exportName == "" ? "nope" : request.exportName)
    }
    let lists = request.intent == .list && request.queries.isEmpty
    return machine.contextsFound(
      lists ? Self.contexts : Self.contexts.filter(request.queries.contains))
  }

  private mutating func record(_ newActions: [NBDHandshake.Action]) {
    actions.append(contentsOf: newActions)
    for action in newActions {
      switch action {
      case .send: break
      case .listExports, .lookUpExport, .findContexts:
        openQuestion = action
        piecesSinceQuestion = 0
      case .startTLS: machine.tlsStarted()
      case .beginTransmission, .close: isEnded = true
      }
    }
  }

  /// Everything sent so far.
  var sent: [UInt8] {
    actions.flatMap { action -> [UInt8] in
      if case .send(let bytes) = action { bytes } else { [] }
    }
  }

  var isClosedForCause: Bool {
    if case .close(.some) = actions.last { true } else { false }
  }
}
