import NBDProtocol
import SystemIO

/// A plain NBD client: the handshake with GO, requests, and replies of both styles. By one fiber;
/// any number of requests may be under way.
final class NBDClient {
  struct Reply {
    var cookie: UInt64
    /// As on the wire; 0 for success.
    var error: UInt32
    /// Of a READ.
    var data: [UInt8]
    /// Of a BLOCK_STATUS.
    var runs: [Run] = []
  }

  struct Run {
    let length: Int
    /// The lowest flag.
    let isSet: Bool
  }

  let byteCount: Int
  /// The metadata context that was asked for could be selected.
  let hasContext: Bool
  private let socket: ClientSocket
  private let isStructured: Bool
  /// READs under way: a simple reply does not say how long it is, and chunks are put together.
  private var reads: [UInt64: Reply] = [:]

  /// Opens the export; `refused` with the server's words when it does not want to.
  ///
  /// - Parameter context: a metadata context to select; needs structured replies.
  init(
    _ endpoint: SocketAddress, export: String, structured: Bool, context: String? = nil
  ) throws(ClientError) {
    let socket = try ClientSocket(endpoint)
    self.socket = socket
    isStructured = structured
    do throws(ClientError) {
      (byteCount, hasContext) = try Handshake(socket).open(
        export, structured: structured, context: context)
    } catch {
      socket.close()
      throw error
    }
  }

  func close() { socket.close() }

  func send(_ request: ClientRequest) throws(ClientError) {
    let message = Self.message(request)
    if request.command == .read {
      reads[request.number] = Reply(
        cookie: request.number, error: 0, data: [UInt8](repeating: 0xEE, count: request.length))
      readOffsets[request.number] = request.offset
    }
    try socket.send(message)
  }

  /// Sends what need not be a request, in one piece.
  func send(raw bytes: [UInt8]) throws(ClientError) { try socket.send(bytes) }

  /// The request as it goes over the wire.
  static func message(_ request: ClientRequest) -> [UInt8] {
    var message = WireBuffer()
    message.put(NBDMagic.request)
    message.put(request.flags.rawValue)
    message.put(request.command.rawValue)
    message.put(request.number)
    message.put(UInt64(request.offset))
    message.put(UInt32(request.length))
    if request.command == .write { message.put(request.payload) }
    return message.bytes
  }

  private var readOffsets: [UInt64: Int] = [:]

  /// The next whole reply; nil when none has come in a while.
  func receive(milliseconds: Int32) throws(ClientError) -> Reply? {
    while true {
      if let reply = try takeReply() { return reply }
      guard try socket.waitForMore(milliseconds: milliseconds) else { return nil }
    }
  }

  /// A reply that has arrived whole; nil when there is none. Takes chunks that are not the last.
  private func takeReply() throws(ClientError) -> Reply? {
    while let start = socket.peek(4) {
      var magic = WireBuffer(start)
      switch magic.take(UInt32.self) {
      case NBDMagic.simpleReply:
        return try takeSimple()
      case NBDMagic.structuredReply where isStructured:
        guard let (reply, isLast) = try takeChunk() else { return nil }
        if isLast { return reply }
      case let other:
        throw .wrong("a reply begins with \(other)")
      }
    }
    return nil
  }

  private func takeSimple() throws(ClientError) -> Reply? {
    guard let header = socket.peek(16) else { return nil }
    var decoder = WireBuffer(Array(header[4...]))
    let error = decoder.take(UInt32.self)
    let cookie = decoder.take(UInt64.self)
    let read = reads[cookie]
    if isStructured, read != nil, error == 0 { throw .wrong("a simple reply to a READ") }
    let count = error == 0 ? read?.data.count ?? 0 : 0
    guard let whole = socket.peek(16 + count) else { return nil }
    socket.skip(16 + count)
    forget(cookie)
    return Reply(cookie: cookie, error: error, data: Array(whole[16...]))
  }

  private func takeChunk() throws(ClientError) -> (Reply, isLast: Bool)? {
    guard let header = socket.peek(20) else { return nil }
    var decoder = WireBuffer(Array(header[4...]))
    let isLast = decoder.take(UInt16.self) & 1 == 1
    let type = decoder.take(UInt16.self)
    let cookie = decoder.take(UInt64.self)
    let count = Int(decoder.take(UInt32.self))
    guard let chunk = socket.peek(20 + count) else { return nil }
    socket.skip(20 + count)
    var reply = reads[cookie] ?? Reply(cookie: cookie, error: 0, data: [])
    try Self.merge(
      type, WireBuffer(Array(chunk[20...])), into: &reply, start: readOffsets[cookie] ?? 0)
    if isLast { forget(cookie) } else { reads[cookie] = reply }
    return (reply, isLast)
  }

  private static func merge(
    _ type: UInt16, _ content: WireBuffer, into reply: inout Reply, start: Int
  ) throws(ClientError) {
    var content = content
    switch type {
    case 0: break
    case 5:
      _ = content.take(UInt32.self)
      while content.remaining >= 8 {
        let length = Int(content.take(UInt32.self))
        reply.runs.append(Run(length: length, isSet: content.take(UInt32.self) & 1 == 1))
      }
    case 1, 2:
      let offset = Int(content.take(UInt64.self)) - start
      let bytes =
        type == 1
        ? content.takeBytes(content.remaining)
        : [UInt8](repeating: 0, count: Int(content.take(UInt32.self)))
      guard offset >= 0, offset + bytes.count <= reply.data.count else {
        throw .wrong("a chunk lies outside of its request")
      }
      reply.data.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    case 0x8001, 0x8002: reply.error = content.take(UInt32.self)
    default: throw .wrong("a chunk of type \(type)")
    }
  }

  private func forget(_ cookie: UInt64) {
    reads[cookie] = nil
    readOffsets[cookie] = nil
  }
}

/// The client's side of the fixed newstyle handshake (the protocol's specification, "Fixed
/// newstyle negotiation").
private struct Handshake {
  private static let acknowledge: UInt32 = 1
  private static let info: UInt32 = 3
  private static let metaContext: UInt32 = 4
  private static let errorBit: UInt32 = 1 << 31
  private static let exportInfo: UInt16 = 0

  let socket: ClientSocket

  init(_ socket: ClientSocket) { self.socket = socket }

  /// Returns the export's size, and whether the context was selected.
  func open(
    _ export: String, structured: Bool, context: String?
  ) throws(ClientError) -> (byteCount: Int, hasContext: Bool) {
    var greeting = WireBuffer(try socket.receive(18))
    guard greeting.take(UInt64.self) == NBDMagic.greeting,
      greeting.take(UInt64.self) == NBDMagic.option
    else { throw .wrong("not the greeting of an NBD server") }
    var flags = WireBuffer()
    flags.put(NBDHandshakeFlags.offered.rawValue)
    try socket.send(flags.bytes)
    if structured {
      try send(.structuredReply, [])
      _ = try receiveReply()
    }
    let hasContext =
      if let context { try select(context, of: export) } else { false }
    var request = WireBuffer()
    request.put(UInt32(export.utf8.count))
    request.put(Array(export.utf8))
    request.put(UInt16(0))
    try send(.go, request.bytes)
    var byteCount: Int?
    while true {
      let (type, bytes) = try receiveReply()
      if type == Self.acknowledge { break }
      var data = WireBuffer(bytes)
      if type == Self.info, data.remaining >= 10, data.take(UInt16.self) == Self.exportInfo {
        byteCount = Int(data.take(UInt64.self))
      }
    }
    guard let byteCount else { throw .wrong("GO without the size of the export") }
    return (byteCount, hasContext)
  }

  private func select(_ context: String, of export: String) throws(ClientError) -> Bool {
    var request = WireBuffer()
    request.put(UInt32(export.utf8.count))
    request.put(Array(export.utf8))
    request.put(UInt32(1))
    request.put(UInt32(context.utf8.count))
    request.put(Array(context.utf8))
    try send(.setMetaContext, request.bytes)
    var isSelected = false
    while true {
      let (type, _) = try receiveReply()
      if type == Self.acknowledge { return isSelected }
      if type == Self.metaContext { isSelected = true }
    }
  }

  private func send(_ option: NBDOption, _ data: [UInt8]) throws(ClientError) {
    var message = WireBuffer()
    message.put(NBDMagic.option)
    message.put(option.rawValue)
    message.put(UInt32(data.count))
    message.put(data)
    try socket.send(message.bytes)
  }

  private func receiveReply() throws(ClientError) -> (UInt32, [UInt8]) {
    var header = WireBuffer(try socket.receive(20))
    guard header.take(UInt64.self) == NBDMagic.optionReply else {
      throw .wrong("not a reply to an option")
    }
    _ = header.take(UInt32.self)
    let type = header.take(UInt32.self)
    let data = try socket.receive(Int(header.take(UInt32.self)))
    if type & Self.errorBit != 0 { throw .refused(String(decoding: data, as: UTF8.self)) }
    return (type, data)
  }
}
