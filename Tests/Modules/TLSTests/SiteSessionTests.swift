import SystemIO
import TestSupport
import Testing

@testable import TLS

/// Proves that two sites let each other in by their keys alone, that what they send arrives as it
/// was, and that whoever shows another key gets nothing through, at either end.
@Suite(.scratch) struct SiteSessionTests {
  private let keys: [SiteKey]
  private let listener: Socket
  private let client: Socket
  private let server: Socket

  init() throws {
    keys = try (0..<3).map { _ in try SiteKey.make() }
    let scratch = try ScratchDirectory()
    let path = try scratch.socket("s")
    let listener = try Socket.listen(on: .unix(path: path))
    self.listener = listener
    client = try Socket.beginConnecting(to: .unix(path: path))
    var accepted: Socket?
    try eventually("somebody connects") {
      accepted = try listener.accept()
      return accepted != nil
    }
    server = try #require(accepted)
  }

  /// Of the one that listens, and of the other.
  private func sessions(
    _ own: Int, knows: Int, _ other: Int, expects: Int
  ) throws -> (TLSSession, TLSSession) {
    let keys = keys
    let near = try TLSContext(keys[own]) { $0 == keys[knows].fingerprint }
    let far = try TLSContext(keys[other]) { _ in false }
    return (
      try TLSSession(near, on: server),
      try TLSSession(far, to: client) { $0 == keys[expects].fingerprint }
    )
  }

  private func shakeHands(_ first: TLSSession, _ second: TLSSession) throws {
    var left = [first, second]
    try eventually("they have shaken hands") {
      left = try left.filter { try $0.handshake() != nil }
      return left.isEmpty
    }
  }

  @Test(arguments: [64 << 30, 10_000] as [UInt64])
  func `two that know each other exchange what they like`(keyByteCount: UInt64) throws {
    let (near, far) = try sessions(0, knows: 1, 1, expects: 0)
    // With the smaller one, the key changes in between.
    far.keyByteCount = keyByteCount
    try shakeHands(near, far)
    #expect(near.peerKey == keys[1].fingerprint && far.peerKey == keys[0].fingerprint)
    let sent = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let sender = Transport(client, tls: far)
    let receiver = Transport(server, tls: near)
    var received: [UInt8] = []
    var rest = sent[...]
    try eventually("all has come") {
      let taken = unsafe rest.withUnsafeBytes { bytes in
        Result { () throws(Errno) in try unsafe sender.send(bytes) }
      }
      rest = rest.dropFirst(try taken.get() ?? 0)
      // A few bytes at a time: what TLS holds is not forgotten.
      repeat { received += try receiver.receive(limit: 1000) ?? [] } while receiver.hasBufferedInput
      return received.count == sent.count
    }
    #expect(received == sent)
  }

  @Test func `who connects with another key is let in by nobody, and is told so`() throws {
    let (near, far) = try sessions(0, knows: 1, 2, expects: 0)
    let error = #expect(throws: TLSError.self) { try shakeHands(near, far) }
    #expect(error?.description.contains("rejected") == true, "\(error as Any)")
    #expect(near.peerKey == nil && near.hasSeenPeer)
    // It may have taken its own end for complete.
    var buffer = [UInt8](repeating: 0, count: 16)
    try eventually("it learns that") {
      _ = try? far.handshake()
      _ = unsafe buffer.withUnsafeMutableBytes { bytes in
        Result { () throws(Errno) in try unsafe far.receive(into: bytes) }
      }
      return far.wasRejected
    }
  }

  @Test func `who answers with another key is not talked to`() throws {
    let (near, far) = try sessions(2, knows: 1, 1, expects: 0)
    #expect(throws: TLSError.self) { try shakeHands(near, far) }
    #expect(far.peerKey == nil && far.hasSeenPeer)
  }

  @Test func `a key is the same after it was in a file`() throws {
    let again = try SiteKey(pem: try keys[0].pem())
    #expect(again.fingerprint == keys[0].fingerprint)
    #expect(KeyFingerprint(parsing: "\(again.fingerprint)") == again.fingerprint)
    #expect(Set(keys.map(\.fingerprint)).count == 3)
  }

  @Test(arguments: [[], Array("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----".utf8)])
  func `what is no key is refused`(bytes: [UInt8]) {
    #expect(throws: TLSError.self) { try SiteKey(pem: bytes) }
  }

  @Test func `the certificate of another key is refused`() throws {
    let ends = try keys.map { String(decoding: try $0.pem(), as: UTF8.self) }
    let split = ends.map { $0.components(separatedBy: "-----BEGIN CERTIFICATE") }
    let mixed = split[0][0] + "-----BEGIN CERTIFICATE" + split[1][1]
    #expect(throws: TLSError.self) { try SiteKey(pem: Array(mixed.utf8)) }
  }
}
