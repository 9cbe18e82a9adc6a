import NBDProtocol
import TestSupport
import Testing

/// Proves that no input makes the handshake trap, loop, consume what it was not given or send
/// something that is not a message: after any bytes it waits for more, has closed, or has handed
/// over to transmission.
@Suite struct NBDHandshakeFuzzTests {
  @Test(arguments: 0..<20)
  func `random bytes`(_ batch: UInt64) {
    for seed in batch * 100..<(batch + 1) * 100 {
      var random = SeededGenerator(seed: seed)
      let count = Int.random(in: 0...300, using: &random)
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      run(bytes, using: &random)
      run(u32(3) + bytes, using: &random)
    }
  }

  @Test(arguments: 0..<20)
  func `random options with plausible and broken data`(_ batch: UInt64) {
    for seed in batch * 100..<(batch + 1) * 100 {
      var random = SeededGenerator(seed: seed)
      var bytes = u32(UInt32.random(in: 0...4, using: &random))
      for _ in 0..<Int.random(in: 0...20, using: &random) {
        bytes += randomOption(using: &random)
      }
      run(bytes, using: &random)
    }
  }

  @Test(arguments: Transcript.all)
  func `transcripts with single bytes changed`(_ transcript: Transcript) {
    for seed in 0..<100 as Range<UInt64> {
      var random = SeededGenerator(seed: seed)
      var bytes = transcript.client
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let index = bytes.indices.randomElement(using: &random)!
        bytes[index] = UInt8.random(in: 0...255, using: &random)
      }
      run(bytes, using: &random)
    }
  }

  private func randomOption(using random: inout SeededGenerator) -> [UInt8] {
    let name = ["disk", "disk@-90s", "nope", "secret", "late", ""].randomElement(using: &random)!
    let types = (0..<Int.random(in: 0...5, using: &random)).map { _ in
      UInt16.random(in: 0...5, using: &random)
    }
    var data = Wire.infoData(name, types)
    let number = UInt32.random(in: 0...12, using: &random)
    if number == 9 || number == 10 {
      let known = HandshakeOwner.contexts + ["base:", "none", ""]
      data = Wire.contextData(
        name,
        (0..<Int.random(in: 0...4, using: &random)).map { _ in known.randomElement(using: &random)!
        })
    }
    if Int.random(in: 0..<4, using: &random) == 0 {
      let index = data.indices.randomElement(using: &random)!
      data[index] = UInt8.random(in: 0...255, using: &random)
    }
    let takesNone = [2, 3, 8, 11].contains(number)
    if Int.random(in: 0..<8, using: &random) == 0 || takesNone { data = [] }
    return Wire.option(number, data)
  }

  private func run(_ bytes: [UInt8], using random: inout SeededGenerator) {
    var owner = HandshakeOwner(answerDelay: Int.random(in: 0...2, using: &random))
    for piece in pieces(of: bytes, using: &random) { owner.feed(piece) }
    owner.finish()
    #expect(owner.isEnded || owner.unconsumed.isEmpty)
    let ends = owner.actions.count { action in
      switch action {
      case .close, .beginTransmission: true
      default: false
      }
    }
    #expect(ends == (owner.isEnded ? 1 : 0))
    #expect(isWellFormed(owner))
    if case .beginTransmission(let session) = owner.actions.last {
      #expect(session.headers != .simple || session.contexts.isEmpty)
      #expect(Set(session.contexts.map(\.identifier)).count == session.contexts.count)
    }
  }

  /// Whether what was sent is the greeting and then replies, each complete; after them, only when
  /// transmission began by EXPORT_NAME, the 10 or 134 bytes without a frame.
  private func isWellFormed(_ owner: HandshakeOwner) -> Bool {
    guard owner.sent.starts(with: Wire.greeting) else { return false }
    var rest = owner.sent.dropFirst(Wire.greeting.count)
    let frameMagic = Wire.ack(0).prefix(8)
    while rest.starts(with: frameMagic) {
      let length = rest.dropFirst(16).prefix(4).reduce(0) { $0 << 8 | Int($1) }
      guard rest.count >= 20 + length else { return false }
      rest = rest.dropFirst(20 + length)
    }
    if rest.isEmpty { return true }
    guard case .beginTransmission = owner.actions.last else { return false }
    return rest.count == 10 || rest.count == 134
  }
}
