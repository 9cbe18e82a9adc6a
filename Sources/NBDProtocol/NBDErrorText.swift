/// What an error's chunk says to people: libnbd writes it to its debug log.
public struct NBDErrorText: Equatable, ExpressibleByStringLiteral, Sendable {
  static let maximumByteCount = 80

  private let text: StaticString

  /// - Precondition: ASCII, at most `maximumByteCount` bytes.
  public init(stringLiteral text: StaticString) {
    precondition(text.isASCII && text.utf8CodeUnitCount <= Self.maximumByteCount)
    self.text = text
  }

  var byteCount: Int { text.utf8CodeUnitCount }

  /// Stores error (4 bytes), length of the text (2) and the text.
  func write(_ error: NBDError, to memory: UnsafeMutableRawPointer) {
    unsafe memory.storeBytes(of: error.rawValue.bigEndian, as: UInt32.self)
    unsafe memory.storeBytes(of: UInt16(byteCount).bigEndian, toByteOffset: 4, as: UInt16.self)
    unsafe (memory + 6).copyMemory(from: text.utf8Start, byteCount: byteCount)
  }

  public var description: String { "\(text)" }

  public static func == (a: NBDErrorText, b: NBDErrorText) -> Bool {
    a.description == b.description
  }
}

extension NBDErrorText: CustomStringConvertible {}

extension NBDError {
  /// For an error of which nothing more is known.
  var text: NBDErrorText {
    switch self {
    case .notPermitted: "the disk is read-only"
    case .io: "the disk failed; the site's log says how"
    case .noMemory: "the server is short of memory"
    case .invalid: "the request is not valid"
    case .noSpace: "past the end of the disk"
    case .overflow: "longer than one request may be"
    case .notSupported: "not supported here"
    case .shutdown: "the server is shutting down"
    }
  }
}

extension NBDExportLimits {
  /// Why `validate` has refused a request with `error`.
  func text(for error: NBDError, of request: NBDRequest) -> NBDErrorText {
    guard error == .invalid else { return error.text }
    let command = NBDCommand(rawValue: request.command)
    let hasPayload = request.flags.contains(.payloadLength)
    switch command {
    case nil, .resize: return "no such command"
    case .read, .trim, .cache, .writeZeroes, .flush:
      if headers == .extended, hasPayload { return "a payload that the command does not have" }
    case .blockStatus:
      if !hasContexts { return "no metadata context was selected" }
      if hasPayload { return "a payload that names no contexts" }
    case .write, .disconnect: break
    }
    if command == .flush { return "a FLUSH has neither offset nor length" }
    if request.length == 0 { return "a length of zero" }
    if !contains(request) { return "past the end of the disk" }
    if command == .read || command == .write, request.length > maximumPayloadBytes {
      return "longer than one request may be"
    }
    return "a flag that the command does not have"
  }

  private func contains(_ request: NBDRequest) -> Bool {
    let (end, overflow) = request.offset.addingReportingOverflow(request.length)
    return !overflow && end <= sizeBytes
  }
}
