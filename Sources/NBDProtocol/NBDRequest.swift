/// The header of a request of the transmission phase.
///
/// On the wire, compact: magic (4 bytes), flags (2), command (2), cookie (8), offset (8), length
/// (4). Extended: the same with another magic and a length of 8 bytes. A payload follows every
/// WRITE, and every extended request with `payloadLength`, whether or not the server likes the
/// header.
public struct NBDRequest: Equatable, Sendable {
  /// Of a compact header.
  public static let byteCount = 28
  public static let extendedByteCount = 32

  public let flags: NBDCommandFlags
  /// The number as sent; `NBDExportLimits.validate` says whether it means anything.
  public let command: UInt16
  /// Chosen by the client, returned in the reply.
  public let cookie: UInt64
  /// In bytes from the start of the export.
  public let offset: UInt64
  /// In bytes: of the payload if there is one, else of the range that the request is about.
  public let length: UInt64

  @inline(__always)
  public init(
    flags: NBDCommandFlags = [], command: UInt16, cookie: UInt64, offset: UInt64, length: UInt64
  ) {
    self.flags = flags
    self.command = command
    self.cookie = cookie
    self.offset = offset
    self.length = length
  }

  /// Bytes of a header in a session with these headers.
  @inline(__always)
  public static func byteCount(_ headers: NBDHeaderStyle) -> Int {
    headers == .extended ? extendedByteCount : byteCount
  }

  /// Parses a header; nil when the magic is wrong, after which the position of the next request in
  /// the stream is not known and the connection must be closed. Does not allocate.
  ///
  /// - Parameter header: the first of `byteCount(headers)` readable bytes; needs no alignment.
  @inline(__always)
  public init?(parsing header: UnsafeRawPointer, headers: NBDHeaderStyle = .simple) {
    let isExtended = headers == .extended
    guard
      unsafe UInt32(bigEndian: header.loadUnaligned(as: UInt32.self))
        == (isExtended ? NBDMagic.extendedRequest : NBDMagic.request)
    else { return nil }
    let flags = unsafe header.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
    let command = unsafe header.loadUnaligned(fromByteOffset: 6, as: UInt16.self)
    let cookie = unsafe header.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    let offset = unsafe header.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
    let length =
      isExtended
      ? unsafe UInt64(bigEndian: header.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
      : unsafe UInt64(
        UInt32(bigEndian: header.loadUnaligned(fromByteOffset: 24, as: UInt32.self)))
    self.init(
      flags: NBDCommandFlags(rawValue: UInt16(bigEndian: flags)),
      command: UInt16(bigEndian: command), cookie: UInt64(bigEndian: cookie),
      offset: UInt64(bigEndian: offset), length: length)
  }

  /// The reply must wait until the data of this request are on stable storage.
  @inline(__always) public var isFUA: Bool { flags.contains(.fua) }

  /// What its replies repeat of it.
  @inline(__always) public var tag: NBDRequestTag {
    NBDRequestTag(cookie: cookie, offset: offset)
  }
}

/// What a reply repeats of its request.
public struct NBDRequestTag: Equatable, Sendable {
  public let cookie: UInt64
  /// As in the request; only extended replies carry it.
  public let offset: UInt64

  @inline(__always)
  public init(cookie: UInt64, offset: UInt64) {
    self.cookie = cookie
    self.offset = offset
  }
}
