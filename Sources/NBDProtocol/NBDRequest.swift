/// The header of a request of the transmission phase.
///
/// On the wire: magic (4 bytes), flags (2), command (2), cookie (8), offset (8), length (4). A
/// WRITE is followed by `length` bytes of payload, whether or not the server likes the header.
public struct NBDRequest: Equatable, Sendable {
  public static let byteCount = 28

  public let flags: NBDCommandFlags
  /// The number as sent; `NBDExportLimits.validate` says whether it means anything.
  public let command: UInt16
  /// Chosen by the client, returned in the reply.
  public let cookie: UInt64
  /// In bytes from the start of the export.
  public let offset: UInt64
  /// In bytes.
  public let length: UInt32

  @inline(__always)
  public init(
    flags: NBDCommandFlags = [], command: UInt16, cookie: UInt64, offset: UInt64, length: UInt32
  ) {
    self.flags = flags
    self.command = command
    self.cookie = cookie
    self.offset = offset
    self.length = length
  }

  /// Parses a header; nil when the magic is wrong, after which the position of the next request in
  /// the stream is not known and the connection must be closed. Does not allocate.
  ///
  /// - Parameter header: the first of `byteCount` readable bytes; needs no alignment.
  @inline(__always)
  public init?(parsing header: UnsafeRawPointer) {
    guard
      unsafe UInt32(bigEndian: header.loadUnaligned(as: UInt32.self)) == NBDMagic.request
    else { return nil }
    let flags = unsafe header.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
    let command = unsafe header.loadUnaligned(fromByteOffset: 6, as: UInt16.self)
    let cookie = unsafe header.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    let offset = unsafe header.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
    let length = unsafe header.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
    self.init(
      flags: NBDCommandFlags(rawValue: UInt16(bigEndian: flags)),
      command: UInt16(bigEndian: command), cookie: UInt64(bigEndian: cookie),
      offset: UInt64(bigEndian: offset), length: UInt32(bigEndian: length))
  }

  /// The reply must wait until the data of this request are on stable storage.
  @inline(__always) public var isFUA: Bool { flags.contains(.fua) }
}
