// Numbers of the NBD protocol. Source of every value in this file: the protocol specification,
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, sections "Handshake phase"
// and "Transmission phase", and for what is called extended the same file of the branch
// extension-ext-header. All integers are big-endian on the wire.

/// The magic numbers that begin each kind of message.
public enum NBDMagic {
  /// First 8 bytes of the server's greeting: ASCII `NBDMAGIC`.
  public static let greeting: UInt64 = 0x4e42_444d_4147_4943
  /// Second 8 bytes of the greeting, and first 8 bytes of every option: ASCII `IHAVEOPT`.
  public static let option: UInt64 = 0x4948_4156_454f_5054
  public static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  public static let request: UInt32 = 0x2560_9513
  public static let extendedRequest: UInt32 = 0x21e4_1c71
  public static let simpleReply: UInt32 = 0x6744_6698
  public static let structuredReply: UInt32 = 0x668e_33ef
  public static let extendedReply: UInt32 = 0x6e8a_278c
}

/// Flags of the server's greeting (16 bits) and, with the same bits, of the client's answer
/// (32 bits).
public struct NBDHandshakeFlags: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let fixedNewstyle = NBDHandshakeFlags(rawValue: 1 << 0)
  public static let noZeroes = NBDHandshakeFlags(rawValue: 1 << 1)

  /// What this server offers; a client that sets any other bit is disconnected.
  public static let offered: NBDHandshakeFlags = [.fixedNewstyle, .noZeroes]
}

/// What an export can do, told to the client when the handshake ends.
public struct NBDTransmissionFlags: OptionSet, Sendable {
  public let rawValue: UInt16
  @inline(__always) public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let hasFlags = NBDTransmissionFlags(rawValue: 1 << 0)
  public static let readOnly = NBDTransmissionFlags(rawValue: 1 << 1)
  public static let sendFlush = NBDTransmissionFlags(rawValue: 1 << 2)
  public static let sendFUA = NBDTransmissionFlags(rawValue: 1 << 3)
  public static let sendTrim = NBDTransmissionFlags(rawValue: 1 << 5)
  public static let sendWriteZeroes = NBDTransmissionFlags(rawValue: 1 << 6)
  public static let sendDF = NBDTransmissionFlags(rawValue: 1 << 7)
  public static let canMultiConn = NBDTransmissionFlags(rawValue: 1 << 8)
  public static let sendCache = NBDTransmissionFlags(rawValue: 1 << 10)
  public static let sendFastZero = NBDTransmissionFlags(rawValue: 1 << 11)
  public static let blockStatusPayload = NBDTransmissionFlags(rawValue: 1 << 12)
}

/// Type of a server's reply to an option. Errors have bit 31 set and may carry a message.
enum NBDOptionReplyType: UInt32 {
  case acknowledge = 1
  case server = 2
  case info = 3
  case metaContext = 4
  case unsupported = 0x8000_0001
  case policy = 0x8000_0002
  case invalid = 0x8000_0003
  case tlsRequired = 0x8000_0005
  case unknownExport = 0x8000_0006
  case shutdown = 0x8000_0007
  case tooBig = 0x8000_0009
  case extendedHeadersRequired = 0x8000_000a
}

/// An item of information about an export that a client may ask for with INFO and GO.
enum NBDInfoType: UInt16 {
  case export = 0
  case name = 1
  case description = 2
  case blockSize = 3
}

/// A command of the transmission phase: every number that the specification and its published
/// extensions assign. Which of them are executed is decided by `NBDExportLimits.validate`.
public enum NBDCommand: UInt16, CaseIterable, Sendable {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7
  case resize = 8
}

/// Flags of a request. A bit that is not named here is refused.
public struct NBDCommandFlags: OptionSet, Sendable {
  public let rawValue: UInt16
  @inline(__always) public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The reply waits until the data of this command are on stable storage.
  public static let fua = NBDCommandFlags(rawValue: 1 << 0)
  /// WRITE_ZEROES only: the zeroed range keeps its space, no hole may be made.
  public static let noHole = NBDCommandFlags(rawValue: 1 << 1)
  /// READ only: "don't fragment", at most one chunk with content in the reply.
  public static let dontFragment = NBDCommandFlags(rawValue: 1 << 2)
  /// BLOCK_STATUS only: one extent for each context, not longer than the request.
  public static let requestOne = NBDCommandFlags(rawValue: 1 << 3)
  /// WRITE_ZEROES only: rather an error than an operation as slow as a WRITE.
  public static let fastZero = NBDCommandFlags(rawValue: 1 << 4)
  /// Extended headers only: the length is that of a payload which follows.
  public static let payloadLength = NBDCommandFlags(rawValue: 1 << 5)
}

/// Type of a chunk of a structured or extended reply. Errors have bit 15 set.
enum NBDChunkType: UInt16 {
  case none = 0
  case offsetData = 1
  case offsetHole = 2
  case blockStatus = 5
  case blockStatusExtended = 6
  case error = 0x8001
  case errorOffset = 0x8002
}

/// The error values that may appear in a reply of the transmission phase, numbered as on the wire.
///
/// The specification restricts three of them: `EOVERFLOW` to commands without a payload and to
/// reads with the DF flag, `ENOTSUP` to fast zeroing, and `ENOMEM` is to be avoided.
public enum NBDError: UInt32, CaseIterable, Sendable {
  case notPermitted = 1  // EPERM
  case io = 5  // EIO
  case noMemory = 12  // ENOMEM
  case invalid = 22  // EINVAL
  case noSpace = 28  // ENOSPC
  case overflow = 75  // EOVERFLOW
  case notSupported = 95  // ENOTSUP
  case shutdown = 108  // ESHUTDOWN
}
