/// What a client is told about an export when it opens or describes it.
public struct NBDExport: Equatable, Sendable {
  /// The canonical name: the answer to a client that asked for the default export (the empty name)
  /// carries the name of the export that was chosen.
  public let name: String
  /// For people; empty when there is none. At most 4096 bytes of it are sent.
  public let description: String
  public let sizeBytes: UInt64
  public let isReadOnly: Bool
  /// A FLUSH on one connection covers the writes that were answered on every connection.
  public let canMultiConn: Bool
  /// Zeroing a range never costs as much as writing it.
  public let canFastZero: Bool

  /// - Precondition: `isValidName(name)`, and `sizeBytes` fits in a signed 64-bit integer, as the
  ///   offsets of POSIX files do.
  public init(
    name: String, description: String = "", sizeBytes: UInt64, isReadOnly: Bool,
    canMultiConn: Bool, canFastZero: Bool = false
  ) {
    precondition(Self.isValidName(name), "export name is too long or contains NUL")
    precondition(sizeBytes <= UInt64(Int64.max), "export is larger than an offset can be")
    self.name = name
    self.description = description
    self.sizeBytes = sizeBytes
    self.isReadOnly = isReadOnly
    self.canMultiConn = canMultiConn
    self.canFastZero = canFastZero
  }

  /// The rule for names, in both directions: at most 4096 bytes of UTF-8, no NUL.
  public static func isValidName(_ name: String) -> Bool {
    name.utf8.count <= NBDLimits.maximumStringBytes && !name.utf8.contains(0)
  }

  /// What the export offers whatever was negotiated; `NBDSession.transmissionFlags` is what the
  /// client is told.
  ///
  /// FLUSH and FUA are offered on read-only exports too, where they have nothing to wait for:
  /// clients such as qemu decide by these flags whether a disk has a cache to flush.
  var transmissionFlags: NBDTransmissionFlags {
    var flags: NBDTransmissionFlags = [.hasFlags, .sendFlush, .sendFUA, .sendCache]
    if isReadOnly {
      flags.insert(.readOnly)
    } else {
      flags.formUnion([.sendTrim, .sendWriteZeroes])
      if canFastZero { flags.insert(.sendFastZero) }
    }
    if canMultiConn { flags.insert(.canMultiConn) }
    return flags
  }
}

/// A line of the answer to LIST.
public struct NBDExportListing: Equatable, Sendable {
  public let name: String
  /// For people; empty when there is none. At most 4096 bytes of it are sent.
  public let description: String

  /// - Precondition: `NBDExport.isValidName(name)`.
  public init(name: String, description: String = "") {
    precondition(NBDExport.isValidName(name), "export name is too long or contains NUL")
    self.name = name
    self.description = description
  }
}

/// Why the owner of a handshake does not answer a question. Messages reach the client's user; at
/// most 4096 bytes of them are sent.
public enum NBDExportRefusal: Equatable, Sendable {
  /// There is no such export, or it cannot be opened (`NBD_REP_ERR_UNKNOWN`).
  case unknown(message: String)
  /// The export or the list exists but this client may not have it (`NBD_REP_ERR_POLICY`).
  case notPermitted(message: String)
  /// The server is stopping (`NBD_REP_ERR_SHUTDOWN`).
  case shuttingDown
}
