import TestSupport
import Testing

/// Proves that a client which stops keeping to the protocol, or ends, in the middle of what it
/// sends costs nobody else anything: its whole writes are journaled like any others, with the bytes
/// that it sent, and the other clients of the group go on.
@Suite(.scratch) struct HostileClientTests {
  enum Ending: String, CaseIterable, CustomTestStringConvertible {
    case garbage, oversizedWrite, halfAHeader, halfAWrite
    var testDescription: String { rawValue }

    func bytes(_ session: RawSession) -> [UInt8] {
      switch self {
      case .garbage: [UInt8](repeating: 0xA5, count: 64)
      case .oversizedWrite: session.request(1, cookie: 99, offset: 0, length: 65 << 20)
      case .halfAHeader: Array(session.request(1, cookie: 99, length: 4096).prefix(13))
      case .halfAWrite:
        session.request(
          1, cookie: 99, length: 4096, payload: [UInt8](repeating: 0xEE, count: 1000))
      }
    }

    /// The client has to leave by itself.
    var isPatientlyAwaited: Bool { self == .halfAHeader || self == .halfAWrite }
  }

  private static let pieceBytes = 16 << 10
  private static let pieceCount = 8

  private func pattern(_ round: Int, _ piece: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(1 + (round * Self.pieceCount + piece) % 250), count: Self.pieceBytes)
  }

  /// Whole writes and then the ending, in one piece.
  private func intrude(_ single: SingleSite, _ ending: Ending, round: Int) throws {
    let session = try RawSession(single.site.socket, "disk", .structured)
    var stream: [UInt8] = []
    for piece in 0..<Self.pieceCount {
      stream += session.request(
        1, cookie: piece, offset: UInt64(piece * Self.pieceBytes),
        length: UInt64(Self.pieceBytes), payload: pattern(round, piece))
    }
    session.send(stream + ending.bytes(session))
    if ending.isPatientlyAwaited {
      for _ in 0..<Self.pieceCount { _ = try session.receive() }
    } else {
      while (try? session.receive()) != nil {}
    }
  }

  @Test(arguments: Ending.allCases)
  func `whole writes before the end of a client are journaled and all others go on`(
    ending: Ending
  ) throws {
    let single = try SingleSite(history: "1h")
    let other = try single.site.connect("disk")
    for round in 0..<20 {
      try intrude(single, ending, round: round)
      try other.write([UInt8(round)], at: 4 << 20)
      for piece in 0..<Self.pieceCount {
        let read = try other.read(at: UInt64(piece * Self.pieceBytes), count: Self.pieceBytes)
        try #require(read == pattern(round, piece))
      }
    }
    try other.flush()
    try single.site.crash()
    try single.site.start()
    let again = try single.site.connect("disk")
    #expect(try again.read(at: 4 << 20, count: 1) == [19])
    #expect(try again.read(at: 0, count: Self.pieceBytes) == pattern(19, 0))
  }
}
