import BlockModel

/// What the two processes say to each other once the new one has accepted the offer.
///
/// The old one sends what it lets go of, in any order, then `complete`; the new one answers
/// `confirmed` when it has everything and has opened the journals. `yours` is the point at which
/// the site changes hands. Either side may say `refused` before it: then the old one goes on.
///
/// Encoded: a header of 12 bytes (magic, 32 bits; kind, 16; zero, 16; byte count of the body, 32),
/// then the body; a descriptor, where the kind has one, comes with the header's first byte.
public enum HandoverMessage: Equatable, Sendable {
  /// To the old process: go on.
  case begin
  /// A listening socket comes with it.
  case listener(HandoverListener)
  /// An open file comes with it, whose lock goes over with it.
  case file(path: String)
  /// A group that stands still: everything in its journal is durable.
  case group(HandoverGroup)
  /// A connected socket comes with it.
  case connection(ConnectionState)
  case complete(HandoverCounts)
  /// To the old process.
  case confirmed
  case yours
  case refused(reason: String)

  static let magic: UInt32 = 0x5448_4f56  // "THOV"
  static let headerBytes = 12

  /// What comes with a message.
  public enum Attachment: Equatable, Sendable { case none, socket, file }

  public var attachment: Attachment { kind.attachment }

  enum Kind: UInt16 {
    case begin = 1
    case listener, file, group, connection, complete, confirmed, yours, refused

    var attachment: Attachment {
      switch self {
      case .listener, .connection: .socket
      case .file: .file
      default: .none
      }
    }
  }

  private var kind: Kind {
    switch self {
    case .begin: .begin
    case .listener: .listener
    case .file: .file
    case .group: .group
    case .connection: .connection
    case .complete: .complete
    case .confirmed: .confirmed
    case .yours: .yours
    case .refused: .refused
    }
  }

  // MARK: Encoding

  /// Header and body.
  public func encoded() -> [UInt8] {
    let body = encodedBody()
    var encoder = WireEncoder()
    encoder.put(Self.magic)
    encoder.put(kind.rawValue)
    encoder.put(UInt16(0))
    encoder.put(UInt32(body.count))
    encoder.put(body)
    return encoder.bytes
  }

  private func encodedBody() -> [UInt8] {
    var encoder = WireEncoder()
    switch self {
    case .begin, .confirmed, .yours: break
    case .listener(let listener): listener.encode(into: &encoder)
    case .file(let path): encoder.put(path)
    case .group(let group): group.encode(into: &encoder)
    case .connection(let connection): connection.encode(into: &encoder)
    case .complete(let counts): counts.encode(into: &encoder)
    case .refused(let reason):
      encoder.put(Array(reason.utf8.prefix(HandoverLimits.reasonBytes)))
    }
    return encoder.bytes
  }

  /// What a header announces.
  struct Header: Equatable {
    let kind: Kind
    let bodyBytes: Int

    init(decoding bytes: [UInt8]) throws(HandoverError) {
      var decoder = WireDecoder(bytes)
      guard let magic = try? decoder.take(UInt32.self), magic == HandoverMessage.magic,
        let code = try? decoder.take(UInt16.self), let kind = Kind(rawValue: code),
        (try? decoder.take(UInt16.self)) == 0, let count = try? decoder.take(UInt32.self),
        count <= HandoverLimits.messageBytes
      else { throw .protocolViolation("not a message") }
      self.kind = kind
      bodyBytes = Int(count)
    }
  }

  init(_ kind: Kind, body: [UInt8]) throws(HandoverError) {
    var decoder = WireDecoder(body)
    do {
      switch kind {
      case .begin: self = .begin
      case .confirmed: self = .confirmed
      case .yours: self = .yours
      case .listener: self = .listener(try HandoverListener(from: &decoder))
      case .file: self = .file(path: try decoder.takeString())
      case .group: self = .group(try HandoverGroup(from: &decoder))
      case .connection: self = .connection(try ConnectionState(from: &decoder))
      case .complete: self = .complete(try HandoverCounts(from: &decoder))
      case .refused:
        let bytes = try decoder.takeBytes(min(body.count, HandoverLimits.reasonBytes))
        self = .refused(reason: String(oneLine: bytes, limit: HandoverLimits.reasonBytes))
      }
    } catch let error as HandoverError {
      throw error
    } catch { throw .protocolViolation("a message that ends early") }
    guard decoder.remaining == 0 else { throw .protocolViolation("a message that is too long") }
  }
}

/// A listener as both processes know it.
public struct HandoverListener: Hashable, Sendable {
  /// `nbd`, `link` or `control`.
  public var kind: String
  /// As the configuration of the old process has it.
  public var address: String
  /// A service manager opened the socket: it is not this program's to remove.
  public var isActivated: Bool

  public init(kind: String, address: String, isActivated: Bool) {
    self.kind = kind
    self.address = address
    self.isActivated = isActivated
  }

  func encode(into encoder: inout WireEncoder) {
    encoder.put(kind)
    encoder.put(address)
    encoder.put(Flags.byte(isActivated))
  }

  init(from decoder: inout WireDecoder) throws {
    kind = try decoder.takeString()
    address = try decoder.takeString()
    isActivated = Flags(try decoder.take())[0]
  }
}

/// What a process knows of a group beside its journal and its state file.
public struct HandoverGroup: Equatable, Sendable {
  public var name: String
  /// It serves: the new process must have it open before the site changes hands.
  public var isOpen: Bool
  /// No record at or before it will follow (nanoseconds since 1970).
  public var completeThrough: UInt64
  /// Which group it was when it was open last; nil when it never was.
  public var identifier: Identifier?
  /// Of a group that has failed: the last record whose write its clients were told of.
  public var acknowledged: UInt64
  /// Records that were lost with a failed journal; nil when none were.
  public var loss: Loss?

  public struct Identifier: Equatable, Sendable {
    public var high: UInt64
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
      self.high = high
      self.low = low
    }
  }

  public struct Loss: Equatable, Sendable {
    /// The first and the last of them.
    public var first: UInt64
    public var last: UInt64
    /// By disk: whether a client was told.
    public var isTold: [Bool]

    public init(first: UInt64, last: UInt64, isTold: [Bool]) {
      self.first = first
      self.last = last
      self.isTold = isTold
    }
  }

  public init(
    name: String, isOpen: Bool, completeThrough: UInt64 = 0,
    identifier: Identifier? = nil, acknowledged: UInt64 = 0, loss: Loss? = nil
  ) {
    self.name = name
    self.isOpen = isOpen
    self.completeThrough = completeThrough
    self.identifier = identifier
    self.acknowledged = acknowledged
    self.loss = loss
  }

  func encode(into encoder: inout WireEncoder) {
    encoder.put(name)
    encoder.put(Flags.byte(isOpen, identifier != nil, loss != nil))
    encoder.put(completeThrough)
    encoder.put(acknowledged)
    if let identifier {
      encoder.put(identifier.high)
      encoder.put(identifier.low)
    }
    if let loss {
      encoder.put(loss.first)
      encoder.put(loss.last)
      encoder.put(UInt16(loss.isTold.count))
      for isTold in loss.isTold { encoder.put(Flags.byte(isTold)) }
    }
  }

  init(from decoder: inout WireDecoder) throws {
    name = try decoder.takeString()
    let flags = Flags(try decoder.take())
    isOpen = flags[0]
    completeThrough = try decoder.take()
    acknowledged = try decoder.take()
    if flags[1] { identifier = .init(high: try decoder.take(), low: try decoder.take()) }
    guard flags[2] else { return }
    var loss = Loss(first: try decoder.take(), last: try decoder.take(), isTold: [])
    for _ in 0..<(try decoder.take(UInt16.self)) {
      loss.isTold.append(Flags(try decoder.take())[0])
    }
    self.loss = loss
  }
}

/// How many of each kind were sent, so that nothing is missed.
public struct HandoverCounts: Equatable, Sendable {
  public var listeners: Int
  public var files: Int
  public var groups: Int
  public var connections: Int

  public init(listeners: Int = 0, files: Int = 0, groups: Int = 0, connections: Int = 0) {
    self.listeners = listeners
    self.files = files
    self.groups = groups
    self.connections = connections
  }

  func encode(into encoder: inout WireEncoder) {
    for count in [listeners, files, groups, connections] { encoder.put(UInt32(count)) }
  }

  init(from decoder: inout WireDecoder) throws {
    listeners = Int(try decoder.take(UInt32.self))
    files = Int(try decoder.take(UInt32.self))
    groups = Int(try decoder.take(UInt32.self))
    connections = Int(try decoder.take(UInt32.self))
  }
}
