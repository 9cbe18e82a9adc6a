import Configuration
import SystemIO

/// A client's end of a connection: sends whole messages, receives as many bytes as are wanted, and
/// gives up when nothing moves for too long. By one fiber.
final class ClientSocket {
  private static let patienceMilliseconds: Int32 = 20_000

  private let socket: Socket
  private var inbox: [UInt8] = []
  private var start = 0

  init(_ endpoint: SocketAddress) throws(ClientError) {
    do throws(Errno) {
      socket = try Socket.connect(to: endpoint)
      try socket.setNonblocking()
    } catch { throw .lost("\(error)") }
  }

  func close() { socket.shutDown() }

  func send(_ bytes: [UInt8]) throws(ClientError) {
    var done = 0
    while done < bytes.count {
      let sent: Int?
      do throws(Errno) {
        sent = try Self.send(bytes, from: done, on: socket)
      } catch { throw .lost("\(error)") }
      if let sent {
        done += sent
      } else if !socket.waitWritable(timeoutMilliseconds: Self.patienceMilliseconds) {
        throw .lost("the server takes nothing")
      }
    }
  }

  private static func send(
    _ bytes: [UInt8], from start: Int, on socket: Socket
  ) throws(Errno) -> Int? {
    var result: Result<Int?, Errno> = .success(nil)
    unsafe bytes.withUnsafeBytes { buffer in
      let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[start...])
      do throws(Errno) { result = .success(try unsafe socket.send(rest)) } catch {
        result = .failure(error)
      }
    }
    return try result.get()
  }

  /// Bytes that have arrived and were not taken.
  var available: Int { inbox.count - start }

  /// What the next `count` bytes are; nil when they have not all arrived.
  func peek(_ count: Int) -> [UInt8]? {
    available >= count ? Array(inbox[start..<start + count]) : nil
  }

  func skip(_ count: Int) {
    start += count
    if start == inbox.count {
      inbox.removeAll(keepingCapacity: true)
      start = 0
    }
  }

  func receive(_ count: Int) throws(ClientError) -> [UInt8] {
    while true {
      if let bytes = peek(count) {
        skip(count)
        return bytes
      }
      guard try waitForMore(milliseconds: Self.patienceMilliseconds) else {
        throw .lost("no answer")
      }
    }
  }

  /// Takes in what arrives; false when nothing did in time.
  func waitForMore(milliseconds: Int32) throws(ClientError) -> Bool {
    guard socket.waitReadable(timeoutMilliseconds: milliseconds) else { return false }
    let piece: [UInt8]?
    do throws(Errno) { piece = try socket.receive(limit: 64 << 10) } catch {
      throw .lost("\(error)")
    }
    // Readiness is a hint.
    guard let piece else { return true }
    if piece.isEmpty { throw .lost("closed by the server") }
    inbox += piece
    return true
  }
}
