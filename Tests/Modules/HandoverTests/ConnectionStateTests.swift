import BlockModel
import Handover
import NBDProtocol
import TestSupport
import Testing

/// Proves that the state of a connection survives being encoded, and that bytes which are no such
/// state are refused: nothing that a process receives can make it trap or reserve memory at will.
struct ConnectionStateTests {
  private static let export = NBDExport(
    name: "disk", sizeBytes: 64 << 20, isReadOnly: false, canMultiConn: true, canFastZero: true)

  private static func state(
    session: NBDSession = NBDSession(export: export),
    request: ConnectionState.RequestInHand? = nil, input: [UInt8] = [], output: [UInt8] = []
  ) -> ConnectionState {
    ConnectionState(
      group: "g", disk: "disk", instant: nil, session: session, request: request, input: input,
      output: output)
  }

  private static func write(
    _ kind: ConnectionState.RequestInHand.Kind = .write, offset: UInt64 = 4096,
    length: UInt64 = 3 << 20, left: UInt64 = 2 << 20
  ) -> ConnectionState.RequestInHand {
    let request = NBDRequest(
      flags: .fua, command: 1, cookie: 0x0102_0304_0506_0708, offset: offset, length: length)
    return .init(
      kind: kind, request: request, isFirstPiece: length == left, offset: offset + length - left,
      remaining: left)
  }

  private static let states: [ConnectionState] = [
    state(),
    state(input: [0x25, 0x60, 0x95, 0x13, 0]),
    state(request: write(), input: [UInt8](repeating: 7, count: 1000)),
    state(request: write(left: 3 << 20)),
    state(request: write(.zero)),
    state(request: write(.trim), output: [UInt8](0...255)),
    state(
      session: NBDSession(
        export: NBDExport(name: "v@latest", sizeBytes: 1, isReadOnly: true, canMultiConn: false),
        headers: .extended,
        contexts: [NBDMetaContext(identifier: 9, name: "base:allocation")]),
      request: .init(
        kind: .discard, request: NBDRequest(command: 1, cookie: 1, offset: 0, length: 77),
        isFirstPiece: true, offset: 0, remaining: 5, error: .notPermitted)),
    ConnectionState(
      group: "shop", disk: "root", instant: 1_700_000_000_123_456_789,
      session: NBDSession(export: export, headers: .structured), isEnding: true, input: [],
      output: [UInt8](repeating: 1, count: 100_000)),
  ]

  private func encoded(_ state: ConnectionState) -> [UInt8] {
    var encoder = WireEncoder()
    state.encode(into: &encoder)
    return encoder.bytes
  }

  private func decoded(_ bytes: [UInt8]) throws -> ConnectionState {
    var decoder = WireDecoder(bytes)
    let state = try ConnectionState(from: &decoder)
    guard decoder.remaining == 0 else { throw HandoverError.protocolViolation("too long") }
    return state
  }

  @Test(arguments: states.indices) func `a state comes back as it was`(index: Int) throws {
    let state = Self.states[index]
    #expect(try decoded(encoded(state)) == state)
  }

  @Test(arguments: states.indices) func `a state that ends early is refused`(index: Int) {
    let bytes = encoded(Self.states[index])
    for count in 0..<min(bytes.count, 400) {
      #expect(throws: HandoverError.self) { try decoded(Array(bytes.prefix(count))) }
    }
  }

  /// What would write outside of the request, the export or the client's rights.
  private static let impossible: [ConnectionState.RequestInHand] = [
    write(offset: 63 << 20, length: 2 << 20, left: 2 << 20),
    write(left: 0),
    .init(
      kind: .write, request: NBDRequest(command: 1, cookie: 1, offset: 0, length: 10),
      isFirstPiece: true, offset: 0, remaining: 11),
    .init(
      kind: .zero, request: NBDRequest(command: 6, cookie: 1, offset: 100, length: 10),
      isFirstPiece: true, offset: 0, remaining: 10),
    .init(
      kind: .trim, request: NBDRequest(command: 4, cookie: 1, offset: .max, length: 10),
      isFirstPiece: true, offset: .max - 3, remaining: 10),
  ]

  @Test(arguments: impossible.indices)
  func `a request that cannot be is refused`(index: Int) {
    let state = Self.state(request: Self.impossible[index])
    #expect(throws: HandoverError.self) { try decoded(encoded(state)) }
  }

  @Test func `a write to a read-only export is refused`() {
    let export = NBDExport(
      name: "disk", sizeBytes: 64 << 20, isReadOnly: true, canMultiConn: true)
    let state = Self.state(session: NBDSession(export: export), request: Self.write())
    #expect(throws: HandoverError.self) { try decoded(encoded(state)) }
  }

  @Test func `bytes with errors in them are refused or are another state`() throws {
    var generator = SeededGenerator(seed: testSeed(1))
    for _ in 0..<4000 {
      var bytes = encoded(Self.states[Int.random(in: 0..<5, using: &generator)])
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let place = Int.random(in: 0..<min(bytes.count, 160), using: &generator)
        bytes[place] = UInt8.random(in: 0...255, using: &generator)
      }
      if Bool.random(using: &generator) {
        bytes.removeLast(Int.random(in: 0...bytes.count, using: &generator))
      }
      do {
        let state = try decoded(bytes)
        #expect(try decoded(encoded(state)) == state)
      } catch is HandoverError {}
    }
  }
}
