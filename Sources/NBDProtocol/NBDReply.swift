/// The header of a simple reply of the transmission phase.
///
/// On the wire: magic (4 bytes), error (4, zero for success), cookie (8). The reply to a successful
/// READ is followed by as many bytes as the request asked for; no other reply has a payload.
public struct NBDSimpleReply: Equatable, Sendable {
  public static let byteCount = 16

  /// The cookie of the request that this answers.
  public let cookie: UInt64
  /// Nil for success.
  public let error: NBDError?

  @inline(__always)
  public init(cookie: UInt64, error: NBDError? = nil) {
    self.cookie = cookie
    self.error = error
  }

  /// Stores the header. Does not allocate.
  ///
  /// - Parameter header: the first of `byteCount` writable bytes; needs no alignment.
  @inline(__always)
  public func write(to header: UnsafeMutableRawPointer) {
    unsafe header.storeBytes(of: NBDMagic.simpleReply.bigEndian, as: UInt32.self)
    let errorValue = error?.rawValue ?? 0
    unsafe header.storeBytes(of: errorValue.bigEndian, toByteOffset: 4, as: UInt32.self)
    unsafe header.storeBytes(of: cookie.bigEndian, toByteOffset: 8, as: UInt64.self)
  }
}
