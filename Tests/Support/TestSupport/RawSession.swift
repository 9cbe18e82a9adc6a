import Foundation

/// A client in the transmission phase that writes its requests byte by byte: for headers and flags
/// that the installed libnbd does not know.
public final class RawSession {
  public enum Headers: Sendable { case structured, extended }

  /// One chunk, or a simple reply as a chunk of type 0 or ERROR.
  public struct Chunk: Equatable, Sendable {
    public var type: Int
    public var cookie: UInt64
    public var payload: [UInt8]
    public var isLast: Bool

    /// Of an error chunk.
    public var error: UInt32? { type >= 0x8000 ? UInt32(number(payload.prefix(4))) : nil }
  }

  private let connection: RawConnection
  private let headers: Headers
  /// The contexts that the server selected, by name.
  public private(set) var contexts: [String: UInt32] = [:]
  /// As GO tells them.
  public private(set) var transmissionFlags: UInt16 = 0

  /// Negotiates the headers, selects the contexts and opens the export.
  public init(
    _ socket: String, _ export: String, _ headers: Headers, contexts queries: [String] = []
  ) throws {
    connection = try RawConnection(unix: socket)
    self.headers = headers
    _ = try connection.receive(18)
    connection.send(bytes(3, 4))
    try option(headers == .extended ? 11 : 8, [])
    let name = bytes(export.utf8.count, 4) + Array(export.utf8)
    if !queries.isEmpty {
      let data = queries.flatMap { bytes($0.utf8.count, 4) + Array($0.utf8) }
      for (type, data) in try option(10, name + bytes(queries.count, 4) + data) where type == 4 {
        contexts[String(decoding: data.dropFirst(4), as: UTF8.self)] = UInt32(
          number(data.prefix(4)))
      }
    }
    for (type, data) in try option(7, name + [0, 0]) where type == 3 && data.starts(with: [0, 0]) {
      transmissionFlags = UInt16(number(data.suffix(2)))
    }
  }

  @discardableResult
  private func option(_ option: Int, _ data: [UInt8]) throws -> [(type: Int, data: [UInt8])] {
    connection.send(Array("IHAVEOPT".utf8) + bytes(option, 4) + bytes(data.count, 4) + data)
    var replies: [(Int, [UInt8])] = []
    while true {
      let header = try connection.receive(20)
      guard header.count == 20 else { throw RigError("closed after option \(option)") }
      let type = Int(number(header[12..<16]))
      let data = try connection.receive(Int(number(header[16..<20])))
      if type == 1 { return replies }
      guard type < 1 << 31 else {
        throw RigError("option \(option): \(String(decoding: data, as: UTF8.self))")
      }
      replies.append((type, data))
    }
  }

  /// Sends a header and what follows it.
  public func send(
    _ command: Int, flags: Int = 0, cookie: Int, offset: UInt64 = 0, length: UInt64,
    payload: [UInt8] = []
  ) {
    send(
      request(
        command, flags: flags, cookie: cookie, offset: offset, length: length, payload: payload))
  }

  /// A header and what follows it.
  public func request(
    _ command: Int, flags: Int = 0, cookie: Int, offset: UInt64 = 0, length: UInt64,
    payload: [UInt8] = []
  ) -> [UInt8] {
    let isExtended = headers == .extended
    return bytes(isExtended ? 0x21e4_1c71 : 0x2560_9513, 4) + bytes(flags, 2) + bytes(command, 2)
      + bytes(cookie, 8) + bytes(Int(truncatingIfNeeded: offset), 8)
      + bytes(Int(truncatingIfNeeded: length), isExtended ? 8 : 4) + payload
  }

  /// Sends bytes of requests, which may end anywhere.
  public func send(_ bytes: some Collection<UInt8>) { connection.send(Array(bytes)) }

  /// The next chunk, from any reply.
  public func receive(within limit: Duration = hangLimit) throws -> Chunk {
    let magic = number(try connection.receive(4, within: limit))
    switch (magic, headers) {
    case (0x6744_6698, .structured):
      let rest = try connection.receive(12)
      let error = Array(rest.prefix(4))
      return Chunk(
        type: number(error) == 0 ? 0 : 0x8001, cookie: number(rest.suffix(8)), payload: error,
        isLast: true)
    case (0x668e_33ef, .structured):
      return try chunk(try connection.receive(16), payloadBytes: 4)
    case (0x6e8a_278c, .extended):
      return try chunk(try connection.receive(28), payloadBytes: 8)
    default: throw RigError("a reply begins with \(String(magic, radix: 16))")
    }
  }

  private func chunk(_ header: [UInt8], payloadBytes: Int) throws -> Chunk {
    Chunk(
      type: Int(number(header[2..<4])), cookie: number(header[4..<12]),
      payload: try connection.receive(Int(number(header.suffix(payloadBytes)))),
      isLast: number(header[0..<2]) == 1)
  }

  /// The chunks of the next reply, when requests are made one by one.
  public func reply(within limit: Duration = hangLimit) throws -> [Chunk] {
    var chunks: [Chunk] = []
    repeat { chunks.append(try receive(within: limit)) } while chunks.last?.isLast == false
    return chunks
  }

  public func isClosedByPeer() throws -> Bool { try connection.isClosedByPeer() }
}

/// A big-endian integer of `count` bytes.
func bytes(_ value: Int, _ count: Int) -> [UInt8] {
  (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

/// A big-endian integer.
public func number(_ bytes: some Sequence<UInt8>) -> UInt64 {
  bytes.reduce(0) { $0 << 8 | UInt64($1) }
}
