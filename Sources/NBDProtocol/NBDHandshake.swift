/// What a listener says to STARTTLS, and to clients that do without.
public enum NBDTLSPolicy: Equatable, Sendable {
  /// STARTTLS is refused.
  case off
  /// The client chooses.
  case optional
  /// In the clear, a client gets nothing but the way to TLS.
  case required
}

/// The server's side of the fixed newstyle handshake, without I/O.
///
/// The owner sends what `start()` returns, feeds `receive` with whatever arrives and carries out
/// the actions in their order. After `.listExports`, `.lookUpExport` and `.findContexts` the
/// machine takes no more input until the owner has answered with `exportsListed`, `exportFound`,
/// `contextsFound` or `exportRefused`; the owner keeps the bytes that `receive` did not consume and
/// offers them again after its answer.
/// After `.beginTransmission` they are the first bytes of the transmission phase.
///
/// The machine holds at most `NBDLimits.maximumOptionDataBytes` of input and allocates only for
/// bytes that have arrived, never for a length that was announced. It measures no time: a client
/// that stays silent is the owner's to disconnect.
///
/// Where the specification leaves room:
///
/// * STRUCTURED_REPLY and EXTENDED_HEADERS may be repeated. STRUCTURED_REPLY after EXTENDED_HEADERS
///   gets `NBD_REP_ERR_EXT_HEADER_REQD`, as the extension has it.
/// * LIST_META_CONTEXT needs no structured replies; SET_META_CONTEXT does.
/// * Contexts belong to the export name as the client spelt it. They survive EXTENDED_HEADERS, and
///   fall away, without an error, when another name is opened.
public struct NBDHandshake: Sendable {
  /// What the owner is to do.
  public enum Action: Equatable, Sendable {
    case send([UInt8])
    /// Answer with `exportsListed` or `exportRefused`.
    case listExports
    /// Answer with `exportFound` or `exportRefused`. The empty name means the default export. Each
    /// INFO, GO and EXPORT_NAME asks anew, also for a name that was asked for before.
    case lookUpExport(name: String, intent: NBDLookUpIntent)
    /// Answer with `contextsFound` or `exportRefused`. The same name may be looked up later with
    /// the contexts that were selected last.
    case findContexts(NBDContextRequest)
    /// Send what is still to be sent, then begin TLS as its server and call `tlsStarted`. What was
    /// received and not consumed came in the clear, where nothing may follow: close then.
    case startTLS
    /// The handshake is over. The export is the one that the owner gave to `exportFound` last.
    case beginTransmission(NBDSession)
    /// Send what is still to be sent, then close. The reason is for the log; nil when the client
    /// ended the handshake in good order.
    case close(reason: String?)
  }

  /// The part of the client's stream that comes next.
  private enum Piece {
    case clientFlags
    case optionHeader
    case collectedData(NBDCollectedOption)
    case skippedData(NBDSkippedOption)

    var isKept: Bool {
      if case .skippedData = self { false } else { true }
    }
  }

  /// What the owner has been asked.
  private enum Question {
    case list
    case exportName(String)
    case info(NBDLookUpIntent, NBDInfoRequest)
    case contexts(NBDContextRequest)
  }

  /// What SET_META_CONTEXT selected last.
  private struct Selection {
    let exportName: String
    let contexts: [NBDMetaContext]
  }

  private static let clientFlagsByteCount = 4

  private let limits: NBDLimits
  private let tls: NBDTLSPolicy
  private var isSecure = false
  /// Nil while a question is open and after the handshake has ended.
  private var piece: Piece? = .clientFlags
  private var missingBytes = Self.clientFlagsByteCount
  private var collected: [UInt8] = []
  private var question: Question?
  private var clientFlags: NBDHandshakeFlags = []
  private var headers = NBDHeaderStyle.simple
  private var selection: Selection?
  /// The number of the option in hand, as sent, for the replies to it.
  private var option: UInt32 = 0
  private var optionCount = 0
  private var optionAllowance: Int

  public init(limits: NBDLimits = NBDLimits(), tls: NBDTLSPolicy = .off) {
    self.limits = limits
    self.tls = tls
    optionAllowance = limits.maximumOptionCount
  }

  /// The server speaks first. Call once, before anything else.
  public func start() -> [Action] {
    [.send(NBDOptionReply.greeting())]
  }

  /// Takes bytes from the client, in pieces of any size. Consumes all of them unless it stops to
  /// wait for the owner or the handshake ends; from then on it consumes nothing.
  public mutating func receive(
    _ bytes: UnsafeRawBufferPointer
  ) -> (consumed: Int, actions: [Action]) {
    var consumed = 0
    var actions: [Action] = []
    while let piece {
      let taken = min(missingBytes, bytes.count - consumed)
      if piece.isKept {
        unsafe collected.append(contentsOf: bytes[consumed..<consumed + taken])
      }
      consumed += taken
      missingBytes -= taken
      guard missingBytes == 0 else { break }
      actions.append(contentsOf: finish(piece))
    }
    return (consumed, actions)
  }

  // MARK: The owner's answers

  /// Answers `.listExports`.
  ///
  /// - Precondition: the question is open.
  public mutating func exportsListed(_ listings: [NBDExportListing]) -> [Action] {
    guard case .list = takeQuestion() else { preconditionFailure("no list was asked for") }
    let allowance =
      limits.maximumOptionCount + limits.optionCountPerListedExport * listings.count
    optionAllowance = max(optionAllowance, allowance)
    return [.send(NBDOptionReply.list(listings, to: option))]
  }

  /// Answers `.lookUpExport`.
  ///
  /// - Precondition: the question is open.
  public mutating func exportFound(_ export: NBDExport) -> [Action] {
    switch takeQuestion() {
    case .exportName(let name):
      let session = session(export, openedAs: name)
      piece = nil
      let withZeroes = !clientFlags.contains(.noZeroes)
      return [
        .send(NBDOptionReply.exportName(session, withZeroes: withZeroes)),
        .beginTransmission(session),
      ]
    case .info(let intent, let request):
      let session = session(export, openedAs: request.name)
      let reply = NBDOptionReply.info(
        session, infoTypes: request.infoTypes, limits: limits, to: option)
      guard intent == .serve else { return [.send(reply)] }
      piece = nil
      return [.send(reply), .beginTransmission(session)]
    case .list, .contexts:
      preconditionFailure("no export was asked for")
    }
  }

  private func session(_ export: NBDExport, openedAs name: String) -> NBDSession {
    let selected = selection.flatMap { $0.exportName == name ? $0.contexts : nil }
    return NBDSession(export: export, headers: headers, contexts: selected ?? [])
  }

  /// Answers `.findContexts` with the names of contexts, each once: for LIST, what matches the
  /// queries, where a name may also be a pattern; for SET, what is selected.
  ///
  /// - Precondition: the question is open, and the names are valid (`NBDExport.isValidName`).
  public mutating func contextsFound(_ names: [String]) -> [Action] {
    guard case .contexts(let request) = takeQuestion() else {
      preconditionFailure("no contexts were asked for")
    }
    switch request.intent {
    case .list:
      let listed = names.map { NBDMetaContext(identifier: 0, name: $0) }
      return [.send(NBDOptionReply.contexts(listed, to: option))]
    case .select:
      guard names.count <= NBDLimits.maximumContexts else {
        return refuse(.tooBig, message: "more than \(NBDLimits.maximumContexts) contexts")
      }
      let selected = names.enumerated().map { index, name in
        NBDMetaContext(identifier: UInt32(index), name: name)
      }
      selection = Selection(exportName: request.exportName, contexts: selected)
      return [.send(NBDOptionReply.contexts(selected, to: option))]
    }
  }

  /// Answers `.listExports`, `.lookUpExport` or `.findContexts`.
  ///
  /// - Precondition: a question is open.
  public mutating func exportRefused(_ refusal: NBDExportRefusal) -> [Action] {
    let question = takeQuestion()
    let (type, message): (NBDOptionReplyType, String) =
      switch refusal {
      case .unknown(let message): (.unknownExport, message)
      case .notPermitted(let message): (.policy, message)
      case .shuttingDown: (.shutdown, "server is shutting down")
      }
    if case .exportName = question {
      // The specification: this option cannot be refused in any other way.
      return close("EXPORT_NAME refused: \(message)")
    }
    return [.send(NBDOptionReply.error(type, to: option, message: message))]
  }

  /// Closes the question and expects the next option.
  private mutating func takeQuestion() -> Question {
    guard let question else { preconditionFailure("no question is open") }
    self.question = nil
    expect(.optionHeader, byteCount: NBDOptionHeader.byteCount)
    return question
  }

  // MARK: The client's stream

  private mutating func expect(_ piece: Piece, byteCount: Int) {
    self.piece = piece
    missingBytes = byteCount
    collected.removeAll()
  }

  private mutating func ask(_ question: Question, _ action: Action) -> [Action] {
    piece = nil
    self.question = question
    return [action]
  }

  private mutating func close(_ reason: String?) -> [Action] {
    piece = nil
    return [.close(reason: reason)]
  }

  private mutating func refuse(_ type: NBDOptionReplyType, message: String) -> [Action] {
    expect(.optionHeader, byteCount: NBDOptionHeader.byteCount)
    return [.send(NBDOptionReply.error(type, to: option, message: message))]
  }

  private mutating func finish(_ piece: Piece) -> [Action] {
    switch piece {
    case .clientFlags: finishClientFlags()
    case .optionHeader: finishOptionHeader()
    case .collectedData(.exportName): finishExportName()
    case .collectedData(.info(let intent)): finishInfo(intent)
    case .collectedData(.contexts(let intent)): finishContexts(intent)
    case .skippedData(.list): ask(.list, .listExports)
    case .skippedData(.structuredReply): agreeOnStructuredReplies()
    case .skippedData(.extendedHeaders): agree(on: .extended)
    case .skippedData(.startTLS): beginTLS()
    case .skippedData(.refuse(let type, let message)): refuse(type, message: message)
    case .skippedData(.acknowledgeAbort):
      [.send(NBDOptionReply.frame(.acknowledge, to: option))] + close(nil)
    }
  }

  private mutating func finishClientFlags() -> [Action] {
    var reader = BigEndianReader(collected)
    clientFlags = NBDHandshakeFlags(rawValue: reader.read(UInt32.self)!)
    guard clientFlags.isSubset(of: .offered) else {
      return close("client flags \(clientFlags.rawValue) were not offered")
    }
    expect(.optionHeader, byteCount: NBDOptionHeader.byteCount)
    return []
  }

  private mutating func finishOptionHeader() -> [Action] {
    guard let header = NBDOptionHeader(parsing: collected) else {
      return close("option has the wrong magic number")
    }
    optionCount += 1
    guard optionCount <= optionAllowance else {
      return close("more than \(optionAllowance) options in one handshake")
    }
    // A client that did not confirm fixed newstyle does not know the frame of option replies.
    guard
      clientFlags.contains(.fixedNewstyle) || header.option == NBDOption.exportName.rawValue
    else { return close("option \(header.option) needs fixed newstyle") }
    option = header.option
    switch NBDOption(rawValue: option) {
    case .exportName where headers == .extended:
      // Its answer has no room for an error.
      return close("EXPORT_NAME after EXTENDED_HEADERS")
    case .setMetaContext:
      // Also when it fails.
      selection = nil
    default: break
    }
    var plan = NBDOptionPlan(header, limits: limits)
    if tls == .required, !isSecure { plan = plan.inTheClear(header) }
    if tls == .off { plan = plan.withoutTLS(header) }
    switch plan {
    case .collect(let collectedOption):
      expect(.collectedData(collectedOption), byteCount: Int(header.dataBytes))
    case .skip(let skippedOption):
      expect(.skippedData(skippedOption), byteCount: Int(header.dataBytes))
    case .close(let reason):
      return close(reason)
    }
    return []
  }

  private mutating func finishExportName() -> [Action] {
    guard let name = protocolString(decoding: collected[...]) else {
      return close("EXPORT_NAME: name is not UTF-8 or contains NUL")
    }
    return ask(.exportName(name), .lookUpExport(name: name, intent: .serve))
  }

  private mutating func finishInfo(_ intent: NBDLookUpIntent) -> [Action] {
    do throws(NBDInfoRequestError) {
      let request = try NBDInfoRequest(parsing: collected)
      return ask(.info(intent, request), .lookUpExport(name: request.name, intent: intent))
    } catch {
      return refuse(.invalid, message: error.message)
    }
  }

  private mutating func finishContexts(_ intent: NBDContextIntent) -> [Action] {
    guard intent == .list || headers != .simple else {
      return refuse(.invalid, message: "SET_META_CONTEXT needs structured replies")
    }
    do throws(NBDContextRequestError) {
      let request = try NBDContextRequest(parsing: collected, intent: intent)
      return ask(.contexts(request), .findContexts(request))
    } catch {
      return refuse(error.replyType, message: error.message)
    }
  }

  private mutating func beginTLS() -> [Action] {
    if tls == .off { return refuse(.unsupported, message: "") }
    if isSecure { return refuse(.invalid, message: "TLS has begun already") }
    piece = nil
    return [.send(NBDOptionReply.frame(.acknowledge, to: option)), .startTLS]
  }

  /// Answers `.startTLS`. What was agreed in the clear is forgotten, as the specification demands.
  ///
  /// - Precondition: TLS was to be started.
  public mutating func tlsStarted() {
    precondition(tls != .off && !isSecure && piece == nil, "TLS was not to be started")
    isSecure = true
    headers = .simple
    selection = nil
    expect(.optionHeader, byteCount: NBDOptionHeader.byteCount)
  }

  private mutating func agreeOnStructuredReplies() -> [Action] {
    headers == .extended
      ? refuse(.extendedHeadersRequired, message: "extended headers are in use")
      : agree(on: .structured)
  }

  private mutating func agree(on headers: NBDHeaderStyle) -> [Action] {
    self.headers = headers
    expect(.optionHeader, byteCount: NBDOptionHeader.byteCount)
    return [.send(NBDOptionReply.frame(.acknowledge, to: option))]
  }
}
