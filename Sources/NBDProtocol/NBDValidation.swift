/// What to do with a request. Everything that can be wrong with a header has been checked when the
/// verdict is `.execute`.
public enum NBDRequestVerdict: Equatable, Sendable {
  /// The range lies inside the export and is not empty (FLUSH has none), the length is at most the
  /// maximum payload for READ and WRITE, and the flags suit the command.
  case execute(NBDOperation)
  /// Answer with the error, after `drainBytes` bytes that follow the header have been read and
  /// thrown away (the payload of a WRITE; otherwise zero).
  case refuse(NBDError, drainBytes: UInt32)
  /// End the connection without a reply to this request.
  case disconnect(NBDDisconnection)
}

/// A command that the server executes.
public enum NBDOperation: Equatable, Sendable {
  case read, write, flush, trim, writeZeroes
}

public enum NBDDisconnection: Equatable, Sendable {
  /// The client sent DISC: finish the requests in flight, send their replies, then close.
  case requested
  /// A WRITE announced a payload that is too long even to throw away: close at once.
  case payloadTooLarge
}

/// What validation needs to know of an export and of the server's limits.
///
/// A plain value without references: copy it into the state of a connection.
public struct NBDExportLimits: Equatable, Sendable {
  private let sizeBytes: UInt64
  private let maximumPayloadBytes: UInt32
  private let maximumDrainedPayloadBytes: UInt32
  private let isReadOnly: Bool

  public init(_ export: NBDExport, limits: NBDLimits = NBDLimits()) {
    sizeBytes = export.sizeBytes
    maximumPayloadBytes = limits.maximumPayloadBytes
    maximumDrainedPayloadBytes = limits.maximumDrainedPayloadBytes
    isReadOnly = export.isReadOnly
  }

  /// Judges a request before anything is done for it. Does not allocate.
  ///
  /// Where the specification ("Error values", "Size constraints", "Request types") leaves room:
  ///
  /// * A READ over the maximum gets `EINVAL`, as from qemu: with simple replies `EOVERFLOW` is
  ///   reserved for commands without a payload.
  /// * A WRITE over the maximum gets `EINVAL` after its payload was drained, so that one request
  ///   of a client with other limits does not cost it the connection; nbdkit does the same. Above
  ///   twice the maximum (by default) draining would let a client keep the server busy for
  ///   nothing, so it is disconnected, which the specification permits.
  /// * A length of zero gets `EINVAL`. The specification calls it unspecified; nbdkit refuses it
  ///   and qemu executes it. Refusing keeps empty records out of everything behind this check.
  /// * `CACHE` is an unknown command because the server does not offer it.
  @inline(__always)
  public func validate(_ request: NBDRequest) -> NBDRequestVerdict {
    switch NBDCommand(rawValue: request.command) {
    case .read:
      return verdict(.read, readError(request))
    case .write:
      guard request.length <= maximumDrainedPayloadBytes else {
        return .disconnect(.payloadTooLarge)
      }
      return verdict(.write, writeError(request), drainBytes: request.length)
    case .disconnect:
      return .disconnect(.requested)
    case .flush:
      return verdict(.flush, flushError(request))
    case .trim:
      return verdict(
        .trim, modificationError(request, allowedFlags: .fua, outOfRange: .invalid))
    case .writeZeroes:
      return verdict(
        .writeZeroes,
        modificationError(request, allowedFlags: [.fua, .noHole], outOfRange: .noSpace))
    case .cache, .blockStatus, .resize, nil:
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
    rangeError(request, allowedFlags: .fua, outOfRange: .invalid)
      ?? (request.length > maximumPayloadBytes ? .invalid : nil)
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
    let (end, overflow) = request.offset.addingReportingOverflow(UInt64(request.length))
    return overflow || end > sizeBytes ? outOfRange : nil
  }
}
