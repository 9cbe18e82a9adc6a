/// An option of the handshake: every number that the specification and its published extensions
/// assign. What the server does with each is the table `NBDOptionPlan`.
public enum NBDOption: UInt32, CaseIterable, Sendable {
  case exportName = 1
  case abort = 2
  case list = 3
  case peekExport = 4
  case startTLS = 5
  case info = 6
  case go = 7
  case structuredReply = 8
  case listMetaContext = 9
  case setMetaContext = 10
  case extendedHeaders = 11
}

/// The fixed part of an option. On the wire: magic (8 bytes), option (4), length of data (4).
struct NBDOptionHeader {
  static let byteCount = 16

  let option: UInt32
  let dataBytes: UInt32

  /// Nil when the magic is wrong or `bytes` is not `byteCount` long.
  init?(parsing bytes: [UInt8]) {
    var reader = BigEndianReader(bytes)
    guard reader.read(UInt64.self) == NBDMagic.option,
      let option = reader.read(UInt32.self),
      let dataBytes = reader.read(UInt32.self), reader.remainingCount == 0
    else { return nil }
    self.option = option
    self.dataBytes = dataBytes
  }
}

/// What to do with the data of an option, decided when only its header has arrived.
enum NBDOptionPlan: Equatable {
  /// Keep the data, then parse them.
  case collect(NBDCollectedOption)
  /// Read past the data without keeping them, then answer.
  case skip(then: NBDSkippedOption)
  case close(reason: String)

  /// The table of options. An option that the server does not implement is refused with
  /// `NBD_REP_ERR_UNSUP` whatever its data are, as the specification's baseline requires.
  init(_ header: NBDOptionHeader, limits: NBDLimits) {
    guard header.dataBytes <= limits.maximumSkippedOptionDataBytes else {
      self = .close(reason: "option \(header.option) has \(header.dataBytes) bytes of data")
      return
    }
    switch NBDOption(rawValue: header.option) {
    case .exportName:
      // This option has no error reply: all that is left is to close.
      self =
        header.dataBytes <= NBDLimits.maximumStringBytes
        ? .collect(.exportName)
        : .close(reason: "export name has \(header.dataBytes) bytes")
    case .abort:
      self = .skip(then: .acknowledgeAbort)
    case .list:
      self = Self.withoutData(header, .list, "LIST takes no data")
    case .info:
      self = Self.collected(header, .info(.describe), limits)
    case .go:
      self = Self.collected(header, .info(.serve), limits)
    case .structuredReply:
      self = Self.withoutData(header, .structuredReply, "STRUCTURED_REPLY takes no data")
    case .extendedHeaders:
      self = Self.withoutData(header, .extendedHeaders, "EXTENDED_HEADERS takes no data")
    case .listMetaContext:
      self = Self.collected(header, .contexts(.list), limits)
    case .setMetaContext:
      self = Self.collected(header, .contexts(.select), limits)
    case .startTLS:
      self = Self.withoutData(header, .startTLS, "STARTTLS takes no data")
    case .peekExport, nil:
      self = .skip(then: .refuse(.unsupported, message: ""))
    }
  }

  /// What a client in the clear gets where TLS is required: nothing but the way there.
  func inTheClear(_ header: NBDOptionHeader) -> NBDOptionPlan {
    switch (self, NBDOption(rawValue: header.option)) {
    case (.close, _), (_, .startTLS), (_, .abort): self
    case (_, .exportName): .close(reason: "EXPORT_NAME in the clear, but TLS is required")
    default: .skip(then: .refuse(.tlsRequired, message: "TLS is required: begin with STARTTLS"))
    }
  }

  /// Without TLS, STARTTLS is an option like others that the server does not implement.
  func withoutTLS(_ header: NBDOptionHeader) -> NBDOptionPlan {
    switch (self, NBDOption(rawValue: header.option)) {
    case (.skip, .startTLS): .skip(then: .refuse(.unsupported, message: ""))
    default: self
    }
  }

  private static func withoutData(
    _ header: NBDOptionHeader, _ option: NBDSkippedOption, _ complaint: String
  ) -> NBDOptionPlan {
    .skip(then: header.dataBytes == 0 ? option : .refuse(.invalid, message: complaint))
  }

  private static func collected(
    _ header: NBDOptionHeader, _ option: NBDCollectedOption, _ limits: NBDLimits
  ) -> NBDOptionPlan {
    header.dataBytes <= limits.maximumOptionDataBytes
      ? .collect(option)
      : .skip(then: .refuse(.tooBig, message: "option data are longer than the server accepts"))
  }
}

/// An option whose data are parsed.
enum NBDCollectedOption: Equatable {
  case exportName
  case info(NBDLookUpIntent)
  case contexts(NBDContextIntent)
}

/// An option whose data do not matter, with its answer.
enum NBDSkippedOption: Equatable {
  case acknowledgeAbort
  case list
  case structuredReply
  case extendedHeaders
  case startTLS
  case refuse(NBDOptionReplyType, message: String)
}

/// What a client wants of the export that it names.
public enum NBDLookUpIntent: Equatable, Sendable {
  /// INFO: size and flags; transmission does not follow.
  case describe
  /// GO or EXPORT_NAME: transmission follows at once.
  case serve
}

/// The data of INFO and GO: length of name (4 bytes), name, count (2), `count` info types (2 each).
struct NBDInfoRequest: Equatable {
  let name: String
  /// The types asked for that the server knows, each once, in the order of their numbers.
  let infoTypes: [NBDInfoType]

  init(parsing data: [UInt8]) throws(NBDInfoRequestError) {
    var reader = BigEndianReader(data)
    guard let nameBytes = reader.read(UInt32.self),
      let encodedName = reader.read(count: Int(nameBytes)),
      let count = reader.read(UInt16.self),
      reader.remainingCount == 2 * Int(count)
    else { throw .inconsistentLengths }
    guard let name = protocolString(decoding: encodedName) else { throw .invalidName }
    self.name = name
    var requested = Set<UInt16>()
    while let type = reader.read(UInt16.self) { requested.insert(type) }
    infoTypes = requested.sorted().compactMap(NBDInfoType.init(rawValue:))
  }
}

enum NBDInfoRequestError: Error {
  case inconsistentLengths
  case invalidName

  var message: String {
    switch self {
    case .inconsistentLengths: "lengths inside the option data do not add up"
    case .invalidName: "export name is too long, not UTF-8 or contains NUL"
    }
  }
}

/// Nil unless `bytes` are what the protocol allows as a string, such as the name of an export.
func protocolString(decoding bytes: ArraySlice<UInt8>) -> String? {
  guard bytes.count <= NBDLimits.maximumStringBytes,
    let name = String(validating: bytes, as: UTF8.self), NBDExport.isValidName(name)
  else { return nil }
  return name
}
