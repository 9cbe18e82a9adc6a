import NBDProtocol
import TestSupport
import Testing

/// Proves that the handshake answers every option as the specification says, and that the answer
/// does not depend on how the client's bytes are cut into pieces or on when the owner answers.
@Suite struct NBDHandshakeTests {
  @Test(arguments: Transcript.all)
  func `answers a stream that arrives whole`(_ transcript: Transcript) {
    var owner = HandshakeOwner()
    owner.feed(transcript.client)
    expect(owner, follows: transcript)
  }

  @Test(arguments: Transcript.all)
  func `answers a stream that arrives byte by byte`(_ transcript: Transcript) {
    for answerDelay in 0...3 {
      var owner = HandshakeOwner(answerDelay: answerDelay)
      for byte in transcript.client { owner.feed(CollectionOfOne(byte)) }
      owner.finish()
      expect(owner, follows: transcript)
    }
  }

  @Test(arguments: Transcript.all)
  func `answers a stream that arrives in random pieces`(_ transcript: Transcript) {
    for seed in 1...50 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed: seed)
      var owner = HandshakeOwner(answerDelay: Int.random(in: 0...4, using: &random))
      for piece in pieces(of: transcript.client, using: &random) { owner.feed(piece) }
      owner.finish()
      expect(owner, follows: transcript)
    }
  }

  @Test func `waits for the owner without consuming`() {
    var machine = NBDHandshake()
    #expect(receive(&machine, u32(3) + Wire.go("disk")).consumed == 4 + 16 + 10)
    for _ in 0..<3 {
      let (consumed, actions) = receive(&machine, Wire.request)
      #expect(consumed == 0)
      #expect(actions.isEmpty)
    }
    #expect(
      machine.exportFound(HandshakeOwner.disk).last
        == .beginTransmission(NBDSession(export: HandshakeOwner.disk)))
    #expect(receive(&machine, Wire.request).consumed == 0)
  }

  @Test(arguments: [
    (NBDExportRefusal.notPermitted(message: "listing is off"), 0x8000_0002, "listing is off"),
    (.shuttingDown, 0x8000_0007, "server is shutting down"),
  ])
  func `a refused list leaves the handshake usable`(
    _ refusal: NBDExportRefusal, _ type: UInt32, _ message: String
  ) {
    var machine = NBDHandshake()
    _ = receive(&machine, u32(3) + Wire.list)
    #expect(machine.exportRefused(refusal) == [.send(Wire.reply(3, type, text(message)))])
    #expect(receive(&machine, Wire.list).actions == [.listExports])
  }

  @Test func `the reason of a close names the cause`() {
    var machine = NBDHandshake()
    _ = receive(&machine, u32(3) + Wire.exportName("nope"))
    #expect(
      machine.exportRefused(.unknown(message: "no disk nope"))
        == [.close(reason: "EXPORT_NAME refused: no disk nope")])
  }

  @Test func `messages and descriptions are cut to a valid string`() throws {
    var machine = NBDHandshake()
    _ = receive(&machine, u32(3) + Wire.go("disk"))
    let actions = machine.exportRefused(
      .unknown(message: "a\0" + String(repeating: "é", count: 3000)))
    let expected = "a" + String(repeating: "é", count: 2047)
    #expect(actions == [.send(Wire.reply(7, 0x8000_0006, text(expected)))])
  }
}

func receive(
  _ machine: inout NBDHandshake, _ bytes: [UInt8]
) -> (consumed: Int, actions: [NBDHandshake.Action]) {
  unsafe bytes.withUnsafeBytes { unsafe machine.receive($0) }
}

private func expect(
  _ owner: HandshakeOwner, follows transcript: Transcript,
  at location: SourceLocation = #_sourceLocation
) {
  let actions = owner.actions.map { action -> NBDHandshake.Action in
    if case .close(.some) = action { .close(reason: "*") } else { action }
  }
  #expect(actions == transcript.actions, sourceLocation: location)
  #expect(owner.unconsumed == transcript.leftOver, sourceLocation: location)
}
