// Replies of the transmission phase. Everything here stores into memory of the caller, at any
// alignment, and does not allocate.

/// A reply without content: that a request has succeeded or failed.
///
/// | headers | success | error |
/// |---|---|---|
/// | simple | simple reply, 16 bytes | simple reply, 16 bytes |
/// | structured | simple reply, 16 bytes | chunk ERROR, 26 bytes and a text |
/// | extended | chunk NONE, 32 bytes | chunk ERROR, 38 bytes and a text |
///
/// With structured replies a simple one is allowed wherever there is no content (which the success
/// of a READ or BLOCK_STATUS has), and is shorter than a chunk.
///
/// A simple reply: magic (4 bytes), error (4, zero for success), cookie (8). ERROR: a chunk header,
/// error (4), length of a text for people (2), the text.
public struct NBDReply: Equatable, Sendable {
  /// No reply is longer.
  public static let maximumByteCount = 38 + NBDErrorText.maximumByteCount
  static let simpleByteCount = 16

  public let tag: NBDRequestTag
  /// Nil for success.
  public let error: NBDError?
  /// What is sent along with an error, where the headers have room for it.
  private let text: NBDErrorText?

  /// - Parameter text: that of the error when nil.
  @inline(__always)
  public init(_ tag: NBDRequestTag, error: NBDError? = nil, text: NBDErrorText? = nil) {
    self.tag = tag
    self.error = error
    self.text = text
  }

  /// Stores the reply; returns how many bytes it has.
  ///
  /// - Parameter memory: the first of `maximumByteCount` writable bytes.
  @inline(__always)
  public func write(to memory: UnsafeMutableRawPointer, _ headers: NBDHeaderStyle) -> Int {
    if headers == .simple || (headers == .structured && error == nil) {
      unsafe writeSimple(to: memory)
      return Self.simpleByteCount
    }
    return unsafe writeChunk(to: memory, headers)
  }

  @inline(__always)
  func writeSimple(to memory: UnsafeMutableRawPointer) {
    unsafe memory.storeBytes(of: NBDMagic.simpleReply.bigEndian, as: UInt32.self)
    let errorValue = error?.rawValue ?? 0
    unsafe memory.storeBytes(of: errorValue.bigEndian, toByteOffset: 4, as: UInt32.self)
    unsafe memory.storeBytes(of: tag.cookie.bigEndian, toByteOffset: 8, as: UInt64.self)
  }

  private func writeChunk(
    to memory: UnsafeMutableRawPointer, _ headers: NBDHeaderStyle
  ) -> Int {
    let header = NBDChunkHeader.byteCount(headers)
    guard let error else {
      unsafe NBDChunkHeader(.none, tag, payloadBytes: 0, isLast: true).write(to: memory, headers)
      return header
    }
    let text = text ?? error.text
    let payloadBytes = 6 + text.byteCount
    unsafe NBDChunkHeader(.error, tag, payloadBytes: UInt32(payloadBytes), isLast: true)
      .write(to: memory, headers)
    unsafe text.write(error, to: memory + header)
    return header + payloadBytes
  }
}

/// The header of a chunk.
///
/// On the wire, structured: magic (4 bytes), flags (2), type (2), cookie (8), length of the payload
/// (4). Extended: another magic, and behind the cookie the request's offset (8) and the length (8).
struct NBDChunkHeader {
  let type: NBDChunkType
  let tag: NBDRequestTag
  let payloadBytes: UInt32
  /// No other chunk of the reply follows (NBD_REPLY_FLAG_DONE).
  let isLast: Bool

  @inline(__always)
  init(_ type: NBDChunkType, _ tag: NBDRequestTag, payloadBytes: UInt32, isLast: Bool) {
    self.type = type
    self.tag = tag
    self.payloadBytes = payloadBytes
    self.isLast = isLast
  }

  @inline(__always)
  static func byteCount(_ headers: NBDHeaderStyle) -> Int { headers == .extended ? 32 : 20 }

  @inline(__always)
  func write(to memory: UnsafeMutableRawPointer, _ headers: NBDHeaderStyle) {
    let isExtended = headers == .extended
    let magic = isExtended ? NBDMagic.extendedReply : NBDMagic.structuredReply
    unsafe memory.storeBytes(of: magic.bigEndian, as: UInt32.self)
    let flags: UInt16 = isLast ? 1 : 0
    unsafe memory.storeBytes(of: flags.bigEndian, toByteOffset: 4, as: UInt16.self)
    unsafe memory.storeBytes(of: type.rawValue.bigEndian, toByteOffset: 6, as: UInt16.self)
    unsafe memory.storeBytes(of: tag.cookie.bigEndian, toByteOffset: 8, as: UInt64.self)
    if isExtended {
      unsafe memory.storeBytes(of: tag.offset.bigEndian, toByteOffset: 16, as: UInt64.self)
      unsafe memory.storeBytes(
        of: UInt64(payloadBytes).bigEndian, toByteOffset: 24, as: UInt64.self)
    } else {
      unsafe memory.storeBytes(of: payloadBytes.bigEndian, toByteOffset: 16, as: UInt32.self)
    }
  }
}
