/// The messages that the server sends during the handshake.
enum NBDOptionReply {
  /// magic (8 bytes), magic (8), handshake flags (2).
  static func greeting() -> [UInt8] {
    var bytes = [UInt8]()
    bytes.appendBigEndian(NBDMagic.greeting)
    bytes.appendBigEndian(NBDMagic.option)
    bytes.appendBigEndian(UInt16(truncatingIfNeeded: NBDHandshakeFlags.offered.rawValue))
    return bytes
  }

  /// The one answer without the frame of the others: size (8 bytes), transmission flags (2) and,
  /// unless the client declined them, 124 zeros.
  static func exportName(_ session: NBDSession, withZeroes: Bool) -> [UInt8] {
    var bytes = [UInt8]()
    bytes.appendBigEndian(session.export.sizeBytes)
    bytes.appendBigEndian(session.transmissionFlags.rawValue)
    if withZeroes { bytes.append(contentsOf: repeatElement(0, count: 124)) }
    return bytes
  }

  /// magic (8 bytes), option (4), reply type (4), length (4), data.
  static func frame(
    _ type: NBDOptionReplyType, to option: UInt32, data: [UInt8] = []
  ) -> [UInt8] {
    var bytes = [UInt8]()
    bytes.appendBigEndian(NBDMagic.optionReply)
    bytes.appendBigEndian(option)
    bytes.appendBigEndian(type.rawValue)
    bytes.appendBigEndian(UInt32(data.count))
    bytes.append(contentsOf: data)
    return bytes
  }

  static func error(
    _ type: NBDOptionReplyType, to option: UInt32, message: String
  ) -> [UInt8] {
    frame(type, to: option, data: [UInt8](wireString: message))
  }

  /// One `NBD_REP_SERVER` for each export (length of name (4 bytes), name, description), then
  /// `NBD_REP_ACK`.
  static func list(_ listings: [NBDExportListing], to option: UInt32) -> [UInt8] {
    var bytes = [UInt8]()
    for listing in listings {
      var data = [UInt8]()
      data.appendBigEndian(UInt32(listing.name.utf8.count))
      data.appendString(listing.name)
      data.appendString(listing.description)
      bytes.append(contentsOf: frame(.server, to: option, data: data))
    }
    return bytes + frame(.acknowledge, to: option)
  }

  /// One `NBD_REP_META_CONTEXT` for each context (identifier (4 bytes), name), then `NBD_REP_ACK`.
  static func contexts(_ contexts: [NBDMetaContext], to option: UInt32) -> [UInt8] {
    var bytes = [UInt8]()
    for context in contexts {
      var data = [UInt8]()
      data.appendBigEndian(context.identifier)
      data.appendString(context.name)
      bytes.append(contentsOf: frame(.metaContext, to: option, data: data))
    }
    return bytes + frame(.acknowledge, to: option)
  }

  /// `NBD_INFO_EXPORT`, which the specification demands whether or not the client asked for it,
  /// then what it asked for, then `NBD_REP_ACK`.
  static func info(
    _ session: NBDSession, infoTypes: [NBDInfoType], limits: NBDLimits, to option: UInt32
  ) -> [UInt8] {
    var bytes = [UInt8]()
    for type in [.export] + infoTypes.filter({ $0 != .export }) {
      guard let content = content(of: type, session, limits) else { continue }
      var data = [UInt8]()
      data.appendBigEndian(type.rawValue)
      data.append(contentsOf: content)
      bytes.append(contentsOf: frame(.info, to: option, data: data))
    }
    return bytes + frame(.acknowledge, to: option)
  }

  /// Nil when there is nothing to say.
  private static func content(
    of type: NBDInfoType, _ session: NBDSession, _ limits: NBDLimits
  ) -> [UInt8]? {
    let export = session.export
    var content = [UInt8]()
    switch type {
    case .export:
      content.appendBigEndian(export.sizeBytes)
      content.appendBigEndian(session.transmissionFlags.rawValue)
    case .name:
      content.appendString(export.name)
    case .description:
      guard !export.description.isEmpty else { return nil }
      content.appendString(export.description)
    case .blockSize:
      content.appendBigEndian(NBDLimits.minimumBlockBytes)
      content.appendBigEndian(NBDLimits.preferredBlockBytes)
      content.appendBigEndian(limits.maximumPayloadBytes)
    }
    return content
  }
}
