import NBDProtocol

/// Holds what was made of a stream against the stream itself, read once more by the specification.
struct RequestJudge {
  let session: NBDSession
  let limits: NBDLimits
  let stream: ArraySlice<UInt8>

  /// A header, as it is on the wire.
  private struct Header {
    let hasMagic: Bool
    let flags: UInt64
    let command: UInt64
    let cookie: UInt64
    let offset: UInt64
    let length: UInt64
  }

  private static let (read, write, disconnect, flush): (UInt64, UInt64, UInt64, UInt64) = (
    0, 1, 2, 3
  )
  private static let (trim, cache, zero, status): (UInt64, UInt64, UInt64, UInt64) = (4, 5, 6, 7)
  private static let (fua, requestOne, payloadFlag): (UInt64, UInt64, UInt64) = (1, 8, 32)

  private var isExtended: Bool { session.headers == .extended }
  private var headerBytes: Int { isExtended ? 32 : 28 }

  func check(_ played: PlayedRequests) throws(FuzzViolation) {
    for event in played.events { try check(event) }
    if case .disconnect = played.events.last?.step { return }
    let rest = stream.count - played.rest
    try require(
      played.isInPayload || rest < headerBytes, "\(rest) bytes wait, a header has \(headerBytes)")
  }

  private func check(_ event: PlayedRequests.Event) throws(FuzzViolation) {
    let header = try header(at: event.start)
    let consumed = event.end - event.start
    switch event.step {
    case .wait: throw FuzzViolation("a wait is no event")
    case .execute(let operation, let request):
      try require(header.hasMagic && consumed == headerBytes, "executed without a header")
      try require(
        request.cookie == header.cookie && request.offset == header.offset
          && request.length == header.length && UInt64(request.command) == header.command
          && UInt64(request.flags.rawValue) == header.flags, "\(request) is not what was sent")
      try checkExecuted(operation, header)
    case .refuse(let tag, let error, _):
      try require(
        header.hasMagic && UInt64(consumed) == UInt64(headerBytes) + payload(header),
        "a refused request took \(consumed) bytes")
      try require(
        tag.cookie == header.cookie && tag.offset == header.offset, "\(tag) is not what was sent")
      try require(
        payload(header) <= UInt64(limits.maximumDrainedPayloadBytes), "too much was drained")
      try require(!isInnocent(header), "a plain request was refused with \(error)")
    case .disconnect(.requested):
      try require(header.hasMagic && header.command == Self.disconnect, "no DISC was sent")
    case .disconnect(.payloadTooLarge(let byteCount)):
      try require(
        header.hasMagic && byteCount == payload(header)
          && byteCount > UInt64(limits.maximumDrainedPayloadBytes),
        "cut off for a payload of \(byteCount) bytes")
    case .disconnect(.notARequest):
      try require(!header.hasMagic, "cut off with the right magic")
    }
  }

  private func header(at position: Int) throws(FuzzViolation) -> Header {
    var reader = WireReader(stream.dropFirst(position).prefix(headerBytes))
    let magic = try reader.integer(4)
    return Header(
      hasMagic: magic == (isExtended ? 0x21e4_1c71 : 0x2560_9513), flags: try reader.integer(2),
      command: try reader.integer(2), cookie: try reader.integer(8),
      offset: try reader.integer(8), length: try reader.integer(isExtended ? 8 : 4))
  }

  /// Bytes that follow the header.
  private func payload(_ header: Header) -> UInt64 {
    let hasPayload =
      header.command == Self.write || isExtended && header.flags & Self.payloadFlag != 0
    return hasPayload ? header.length : 0
  }

  private func isInside(_ header: Header) -> Bool {
    let size = session.export.sizeBytes
    return header.length > 0 && header.offset <= size && header.length <= size - header.offset
  }

  private func checkExecuted(_ operation: NBDOperation, _ header: Header) throws(FuzzViolation) {
    let isFiltered = operation == .filteredBlockStatus
    let flags = header.flags & ~Self.fua & ~(isExtended ? Self.payloadFlag : 0)
    let hasPayload = payload(header) > 0
    let (command, allowedFlags): (UInt64, UInt64) =
      switch operation {
      case .read: (Self.read, session.headers == .simple ? 0 : 4)
      case .write: (Self.write, 0)
      case .flush: (Self.flush, 0)
      case .trim: (Self.trim, 0)
      case .cache: (Self.cache, 0)
      case .writeZeroes: (Self.zero, session.export.canFastZero ? 2 | 16 : 2)
      case .blockStatus, .filteredBlockStatus: (Self.status, Self.requestOne)
      }
    try require(header.command == command, "\(operation) was not sent")
    try require(flags & ~allowedFlags == 0, "\(operation) with flags \(header.flags)")
    try require(
      hasPayload == (operation == .write || isFiltered), "\(operation) with a wrong payload")
    switch operation {
    case .flush: try require(header.offset == 0 && header.length == 0, "a FLUSH of a range")
    case .filteredBlockStatus:
      try require(header.length <= 8 + 4 * 16, "a filter of \(header.length) bytes")
    default: try require(isInside(header), "\(operation) outside of the disk: \(header)")
    }
    switch operation {
    case .read, .write:
      try require(
        header.length <= UInt64(limits.maximumPayloadBytes), "\(header.length) bytes at once")
    case .blockStatus, .filteredBlockStatus:
      try require(!session.contexts.isEmpty, "a status without a context")
    default: break
    }
    let changes: Set<NBDOperation> = [.write, .trim, .writeZeroes]
    try require(
      !session.export.isReadOnly || !changes.contains(operation), "\(operation) of a read-only disk"
    )
  }

  /// Whether a server must execute it: a request as every client makes them, inside of the disk.
  private func isInnocent(_ header: Header) -> Bool {
    guard isInside(header), header.length <= 4096 else { return false }
    switch header.command {
    case Self.read, Self.cache: return header.flags == 0
    case Self.write:
      let flags = header.flags & ~(isExtended ? Self.payloadFlag : 0)
      return !session.export.isReadOnly && flags == 0
    case Self.trim, Self.zero: return !session.export.isReadOnly && header.flags == 0
    case Self.status: return header.flags == 0 && !session.contexts.isEmpty
    default: return false
    }
  }
}
