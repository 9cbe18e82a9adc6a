import BlockModel
import NBDProtocol

/// Everything that another process must know to go on with a client's connection where this one
/// stopped: between two requests, or in the middle of one that has arrived in part.
///
/// Encoded, all big-endian, a string with its byte count in 16 bits in front: group, disk, instant
/// (64 bits; 0 for the disk as it is); name of the export, its size (64), flags (8: 1 read-only, 2
/// multi-conn, 4 fast zero), headers (8), number of contexts (8), and for each its identifier (32)
/// and name; flags (8: 1 ending, 2 a request is in hand), the request in hand; number of reads that
/// wait (32), and for each its cookie, offset and length (64 each) and flags (16); byte count of
/// the input (32) and of the output (32), and the bytes.
public struct ConnectionState: Equatable, Sendable {
  public var group: String
  public var disk: String
  /// Nanoseconds since 1970; nil for the disk as it is.
  public var instant: UInt64?
  /// As it was negotiated; the description of the export does not come along.
  public var session: NBDSession
  /// The client has sent DISC: only replies are left.
  public var isEnding: Bool
  public var request: RequestInHand?
  /// Reads that were taken and are not answered yet.
  public var reads: [NBDRequest]
  /// Arrived and not consumed: with a request in hand, the rest of its payload first.
  public var input: [UInt8]
  /// Replies that were not sent; the first may have been sent in part.
  public var output: [UInt8]

  /// A request whose header was consumed, and of which some records may be in the journal already.
  public struct RequestInHand: Equatable, Sendable {
    public enum Kind: UInt8, Sendable {
      /// Payload that goes to the journal.
      case write = 1
      /// A range that becomes zeros, and keeps its space or not.
      case zero = 2
      case trim = 3
      /// Payload that nobody wants.
      case discard = 4
      /// Payload that says which contexts are asked for.
      case filter = 5
    }

    public var kind: Kind
    public var request: NBDRequest
    /// Nothing of it is in the journal.
    public var isFirstPiece: Bool
    /// Where it goes on, and how many bytes are left.
    public var offset: UInt64
    public var remaining: UInt64
    /// What is answered once the payload was thrown away.
    public var error: NBDError?

    public init(
      kind: Kind, request: NBDRequest, isFirstPiece: Bool, offset: UInt64, remaining: UInt64,
      error: NBDError? = nil
    ) {
      self.kind = kind
      self.request = request
      self.isFirstPiece = isFirstPiece
      self.offset = offset
      self.remaining = remaining
      self.error = error
    }
  }

  public init(
    group: String, disk: String, instant: UInt64?, session: NBDSession, isEnding: Bool = false,
    request: RequestInHand? = nil, reads: [NBDRequest] = [], input: [UInt8], output: [UInt8]
  ) {
    self.group = group
    self.disk = disk
    self.instant = instant
    self.session = session
    self.isEnding = isEnding
    self.request = request
    self.reads = reads
    self.input = input
    self.output = output
  }

  // MARK: Encoding

  public func encode(into encoder: inout WireEncoder) {
    encoder.put(group)
    encoder.put(disk)
    encoder.put(instant ?? 0)
    let export = session.export
    encoder.put(export.name)
    encoder.put(export.sizeBytes)
    encoder.put(
      Flags.byte(export.isReadOnly, export.canMultiConn, export.canFastZero))
    encoder.put(Self.code(session.headers))
    encoder.put(UInt8(session.contexts.count))
    for context in session.contexts {
      encoder.put(context.identifier)
      encoder.put(context.name)
    }
    encoder.put(Flags.byte(isEnding, request != nil))
    request?.encode(into: &encoder)
    encoder.put(UInt32(reads.count))
    for read in reads {
      for value in [read.cookie, read.offset, read.length] { encoder.put(value) }
      encoder.put(read.flags.rawValue)
    }
    encoder.put(UInt32(input.count))
    encoder.put(UInt32(output.count))
    encoder.put(input)
    encoder.put(output)
  }

  public init(from decoder: inout WireDecoder) throws(HandoverError) {
    do {
      group = try decoder.takeString()
      disk = try decoder.takeString()
      let instant = try decoder.take(UInt64.self)
      self.instant = instant == 0 ? nil : instant
      session = try Self.decodeSession(&decoder)
      let flags = Flags(try decoder.take())
      isEnding = flags[0]
      request = flags[1] ? try RequestInHand(from: &decoder, in: session) : nil
      reads = try Self.decodeReads(&decoder, session)
      let inputCount = Int(try decoder.take(UInt32.self))
      let outputCount = Int(try decoder.take(UInt32.self))
      guard inputCount <= HandoverLimits.inputBytes, outputCount <= HandoverLimits.outputBytes
      else { throw HandoverError.protocolViolation("a connection with too many bytes") }
      input = try decoder.takeBytes(inputCount)
      output = try decoder.takeBytes(outputCount)
    } catch let error as HandoverError {
      throw error
    } catch { throw .protocolViolation("a connection that ends early") }
  }

  private static func decodeReads(
    _ decoder: inout WireDecoder, _ session: NBDSession
  ) throws -> [NBDRequest] {
    let count = Int(try decoder.take(UInt32.self))
    guard count <= HandoverLimits.reads else {
      throw HandoverError.protocolViolation("\(count) reads")
    }
    let limits = NBDExportLimits(session)
    var reads: [NBDRequest] = []
    for _ in 0..<count {
      let (cookie, offset, length): (UInt64, UInt64, UInt64) = (
        try decoder.take(), try decoder.take(), try decoder.take()
      )
      let read = NBDRequest(
        flags: NBDCommandFlags(rawValue: try decoder.take()), command: NBDCommand.read.rawValue,
        cookie: cookie, offset: offset, length: length)
      guard case .execute(.read) = limits.validate(read) else {
        throw HandoverError.protocolViolation("a read that cannot be")
      }
      reads.append(read)
    }
    return reads
  }

  private static func decodeSession(_ decoder: inout WireDecoder) throws -> NBDSession {
    let name = try decoder.takeString()
    let size = try decoder.take(UInt64.self)
    let flags = Flags(try decoder.take())
    guard NBDExport.isValidName(name), size <= UInt64(Int64.max),
      let headers = headers(code: try decoder.take())
    else { throw HandoverError.protocolViolation("an export that cannot be") }
    let count = Int(try decoder.take(UInt8.self))
    guard count <= NBDLimits.maximumContexts else {
      throw HandoverError.protocolViolation("\(count) contexts")
    }
    var contexts: [NBDMetaContext] = []
    for _ in 0..<count {
      contexts.append(
        NBDMetaContext(identifier: try decoder.take(), name: try decoder.takeString()))
    }
    return NBDSession(
      export: NBDExport(
        name: name, sizeBytes: size, isReadOnly: flags[0], canMultiConn: flags[1],
        canFastZero: flags[2]),
      headers: headers, contexts: contexts)
  }

  private static func code(_ headers: NBDHeaderStyle) -> UInt8 {
    switch headers {
    case .simple: 0
    case .structured: 1
    case .extended: 2
    }
  }

  private static func headers(code: UInt8) -> NBDHeaderStyle? {
    switch code {
    case 0: .simple
    case 1: .structured
    case 2: .extended
    default: nil
    }
  }
}

extension ConnectionState.RequestInHand {
  /// Kind (8), whether nothing was staged (8), the request: flags (16), command (16), cookie (64),
  /// offset (64), length (64); then offset (64), remaining (64), error (32).
  fileprivate func encode(into encoder: inout WireEncoder) {
    encoder.put(kind.rawValue)
    encoder.put(Flags.byte(isFirstPiece))
    encoder.put(request.flags.rawValue)
    encoder.put(request.command)
    for value in [request.cookie, request.offset, request.length, offset, remaining] {
      encoder.put(value)
    }
    encoder.put(error?.rawValue ?? 0)
  }

  fileprivate init(from decoder: inout WireDecoder, in session: NBDSession) throws {
    guard let kind = Kind(rawValue: try decoder.take()) else {
      throw HandoverError.protocolViolation("a request of an unknown kind")
    }
    self.kind = kind
    isFirstPiece = Flags(try decoder.take())[0]
    request = NBDRequest(
      flags: NBDCommandFlags(rawValue: try decoder.take()), command: try decoder.take(),
      cookie: try decoder.take(), offset: try decoder.take(), length: try decoder.take())
    offset = try decoder.take()
    remaining = try decoder.take()
    let code = try decoder.take(UInt32.self)
    error = NBDError(rawValue: code)
    guard code == 0 || error != nil, isConsistent(in: session) else {
      throw HandoverError.protocolViolation("a request that cannot be")
    }
  }

  /// What is left of the request lies inside of it and, where it changes the disk, inside the
  /// export.
  private func isConsistent(in session: NBDSession) -> Bool {
    guard remaining > 0, remaining <= request.length else { return false }
    switch kind {
    case .write, .zero, .trim:
      let (end, overflows) = offset.addingReportingOverflow(remaining)
      return !overflows && !session.export.isReadOnly && end <= session.export.sizeBytes
        && offset >= request.offset && end - request.offset == request.length
    case .discard, .filter: return remaining <= UInt64(UInt32.max)
    }
  }
}

/// Eight bits that are true or not.
struct Flags {
  private let byte: UInt8
  init(_ byte: UInt8) { self.byte = byte }
  subscript(bit: Int) -> Bool { byte >> UInt8(bit) & 1 == 1 }

  static func byte(_ bits: Bool...) -> UInt8 {
    bits.enumerated().reduce(0) { $0 | ($1.element ? 1 << UInt8($1.offset) : 0) }
  }
}
