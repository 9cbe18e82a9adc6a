/// What to do with a request. Everything that can be wrong with a header has been checked when the
/// verdict is `.execute`.
public enum NBDRequestVerdict: Equatable, Sendable {
  /// The range lies inside the export and is not empty (FLUSH has none, and that of a filtered
  /// BLOCK_STATUS is in its payload), the length is at most the maximum payload for READ and WRITE,
  /// and the flags suit the command.
  case execute(NBDOperation)
  /// Answer with the error, after `drainBytes` bytes that follow the header have been read and
  /// thrown away (a payload; otherwise zero).
  case refuse(NBDError, drainBytes: UInt32)
  /// End the connection without a reply to this request.
  case disconnect(NBDDisconnection)
}

/// A command that the server executes.
public enum NBDOperation: Equatable, Sendable {
  case read, write, flush, trim, cache, writeZeroes, blockStatus
  /// BLOCK_STATUS whose payload of `length` bytes follows: an `NBDStatusFilter`.
  case filteredBlockStatus
}

public enum NBDDisconnection: Equatable, Sendable {
  /// The client sent DISC: finish the requests in flight, send their replies, then close.
  case requested
  /// A payload of so many bytes was announced, too long even to throw away: close at once.
  case payloadTooLarge(byteCount: UInt64)
  /// The magic is wrong, so that where the next request begins is not known: close at once.
  case notARequest
}

/// What validation needs to know of a session and of the server's limits.
///
/// A plain value without references: copy it into the state of a connection.
public struct NBDExportLimits: Equatable, Sendable {
  let sizeBytes: UInt64
  let maximumPayloadBytes: UInt64
  private let maximumDrainedPayloadBytes: UInt64
  private let isReadOnly: Bool
  let hasContexts: Bool
  private let readFlags: NBDCommandFlags
  private let writeZeroesFlags: NBDCommandFlags
  public let headers: NBDHeaderStyle

  public init(_ session: NBDSession, limits: NBDLimits = NBDLimits()) {
    let export = session.export
    sizeBytes = export.sizeBytes
    maximumPayloadBytes = UInt64(limits.maximumPayloadBytes)
    maximumDrainedPayloadBytes = UInt64(limits.maximumDrainedPayloadBytes)
    isReadOnly = export.isReadOnly
    hasContexts = session.headers != .simple && !session.contexts.isEmpty
    readFlags = session.headers == .simple ? .fua : [.fua, .dontFragment]
    writeZeroesFlags = export.canFastZero ? [.fua, .noHole, .fastZero] : [.fua, .noHole]
    headers = session.headers
  }

  /// Judges a request before anything is done for it. Does not allocate.
  ///
  /// Where the specification ("Error values", "Size constraints", "Request types") leaves room:
  ///
  /// * A READ over the maximum gets `EINVAL` with simple replies, as from qemu, because
  ///   `EOVERFLOW` is reserved there; with chunks it gets `EOVERFLOW`, which asks for smaller
  ///   requests.
  /// * A WRITE over the maximum gets `EINVAL` after its payload was drained, so that one request
  ///   of a client with other limits does not cost it the connection; nbdkit does the same. Above
  ///   twice the maximum (by default) draining would let a client keep the server busy for
  ///   nothing, so it is disconnected, which the specification permits. The same holds for every
  ///   other payload that is not wanted.
  /// * An extended WRITE has its payload also without `payloadLength`: qemu (10.0 was tried) does
  ///   not set it, and its own server takes that as well.
  /// * A length of zero gets `EINVAL`. The specification calls it unspecified; nbdkit refuses it
  ///   and qemu executes it. Refusing keeps empty records out of everything behind this check.
  @inline(__always)
  public func validate(_ request: NBDRequest) -> NBDRequestVerdict {
    headers == .extended ? validateExtended(request) : judge(request)
  }

  private func validateExtended(_ request: NBDRequest) -> NBDRequestVerdict {
    let hasPayload = request.flags.contains(.payloadLength)
    switch NBDCommand(rawValue: request.command) {
    case .disconnect:
      return .disconnect(.requested)
    case .write:
      return judge(request.withoutPayloadFlag)
    case .blockStatus where hasPayload && hasContexts:
      let isPlain = request.flags.isSubset(of: [.fua, .requestOne, .payloadLength])
      return isPlain && request.length <= UInt64(NBDStatusFilter.maximumPayloadBytes)
        && request.length > 0
        ? .execute(.filteredBlockStatus) : drain(request)
    default:
      return hasPayload ? drain(request) : judge(request)
    }
  }

  /// Refuses a request because of a payload that it should not have.
  private func drain(_ request: NBDRequest) -> NBDRequestVerdict {
    request.length <= maximumDrainedPayloadBytes
      ? .refuse(.invalid, drainBytes: UInt32(request.length))
      : .disconnect(.payloadTooLarge(byteCount: request.length))
  }

  /// A WRITE has its payload, nothing else has one.
  @inline(__always)
  private func judge(_ request: NBDRequest) -> NBDRequestVerdict {
    switch NBDCommand(rawValue: request.command) {
    case .read:
      return verdict(.read, readError(request))
    case .write:
      guard request.length <= maximumDrainedPayloadBytes else {
        return .disconnect(.payloadTooLarge(byteCount: request.length))
      }
      return verdict(
        .write, writeError(request), drainBytes: UInt32(truncatingIfNeeded: request.length))
    case .disconnect:
      return .disconnect(.requested)
    case .flush:
      return verdict(.flush, flushError(request))
    case .trim:
      return verdict(
        .trim, modificationError(request, allowedFlags: .fua, outOfRange: .invalid))
    case .cache:
      return verdict(.cache, rangeError(request, allowedFlags: .fua, outOfRange: .invalid))
    case .writeZeroes:
      return verdict(
        .writeZeroes,
        modificationError(request, allowedFlags: writeZeroesFlags, outOfRange: .noSpace))
    case .blockStatus:
      return verdict(.blockStatus, blockStatusError(request))
    case .resize, nil:
      return .refuse(.invalid, drainBytes: 0)
    }
  }

  @inline(__always)
  private func verdict(
    _ operation: NBDOperation, _ error: NBDError?, drainBytes: UInt32 = 0
  ) -> NBDRequestVerdict {
    guard let error else { return .execute(operation) }
    return .refuse(error, drainBytes: drainBytes)
  }

  // FUA is accepted on every command because it is offered: the specification requires that, and
  // clients are known to set it on commands that write nothing.

  @inline(__always)
  private func readError(_ request: NBDRequest) -> NBDError? {
    if let error = rangeError(request, allowedFlags: readFlags, outOfRange: .invalid) {
      return error
    }
    guard request.length > maximumPayloadBytes else { return nil }
    return headers == .simple ? .invalid : .overflow
  }

  @inline(__always)
  private func writeError(_ request: NBDRequest) -> NBDError? {
    modificationError(request, allowedFlags: .fua, outOfRange: .noSpace)
      ?? (request.length > maximumPayloadBytes ? .invalid : nil)
  }

  @inline(__always)
  private func flushError(_ request: NBDRequest) -> NBDError? {
    let isPlain = request.offset == 0 && request.length == 0
    return isPlain && request.flags.isSubset(of: .fua) ? nil : .invalid
  }

  private func blockStatusError(_ request: NBDRequest) -> NBDError? {
    guard hasContexts else { return .invalid }
    return rangeError(request, allowedFlags: [.fua, .requestOne], outOfRange: .invalid)
  }

  @inline(__always)
  private func modificationError(
    _ request: NBDRequest, allowedFlags: NBDCommandFlags, outOfRange: NBDError
  ) -> NBDError? {
    guard !isReadOnly else { return .notPermitted }
    return rangeError(request, allowedFlags: allowedFlags, outOfRange: outOfRange)
  }

  @inline(__always)
  private func rangeError(
    _ request: NBDRequest, allowedFlags: NBDCommandFlags, outOfRange: NBDError
  ) -> NBDError? {
    guard request.flags.isSubset(of: allowedFlags), request.length > 0 else { return .invalid }
    let (end, overflow) = request.offset.addingReportingOverflow(request.length)
    return overflow || end > sizeBytes ? outOfRange : nil
  }
}

extension NBDRequest {
  /// The flag says nothing about what the request does once the payload is known to be wanted.
  @inline(__always)
  fileprivate var withoutPayloadFlag: NBDRequest {
    NBDRequest(
      flags: flags.subtracting(.payloadLength), command: command, cookie: cookie, offset: offset,
      length: length)
  }
}
