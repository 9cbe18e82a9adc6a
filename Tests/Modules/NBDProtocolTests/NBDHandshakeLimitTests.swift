import NBDProtocol
import Testing

/// Proves that no client can make the handshake hold, skip or answer more than its limits say, and
/// that what the limits allow still works.
@Suite struct NBDHandshakeLimitTests {
  private static let limits = NBDLimits(
    maximumPayloadBytes: 8192, maximumOptionDataBytes: 100, maximumSkippedOptionDataBytes: 1000,
    maximumOptionCount: 4, optionCountPerListedExport: 2)

  private func owner(listing count: Int = 0) -> HandshakeOwner {
    var owner = HandshakeOwner(limits: Self.limits)
    owner.listings = (0..<count).map { NBDExportListing(name: "export \($0)") }
    owner.feed(u32(3))
    return owner
  }

  @Test(arguments: [6, 7, 9] as [UInt32])
  func `data over the limit are skipped and refused`(_ option: UInt32) {
    var owner = owner()
    owner.feed(Wire.option(option, [UInt8](repeating: 0, count: 101)))
    let message = text("option data are longer than the server accepts")
    #expect(owner.actions.last == .send(Wire.reply(option, 0x8000_0009, message)))
    owner.feed(Wire.go("disk"))
    #expect(owner.actions.last == .beginTransmission(NBDSession(export: HandshakeOwner.disk)))
  }

  @Test func `contexts that are too many or too long are refused, and none are selected`() {
    let queries = [String](repeating: "x-test:even", count: 64)
    let requests: [([UInt8], UInt32)] = [
      (Wire.setContexts("disk", queries + ["x"]), 0x8000_0009),
      (Wire.setContexts("disk", [String(repeating: "q", count: 4097)]), 0x8000_0003),
      (Wire.option(10, [UInt8](repeating: 0, count: 65_537)), 0x8000_0009),
    ]
    for (bytes, error) in requests {
      var owner = HandshakeOwner()
      owner.feed(u32(3) + Wire.structured + Wire.setContexts("disk", ["base:allocation"]))
      let before = owner.sent.count
      owner.feed(bytes)
      #expect(owner.sent[(before + 12)...].prefix(4) == u32(error)[...])
      owner.feed(Wire.go("disk"))
      let session = NBDSession(export: HandshakeOwner.disk, headers: .structured)
      #expect(owner.actions.last == .beginTransmission(session))
    }
  }

  @Test func `more contexts than can be selected at a time are refused`() {
    for count in [16, 17] {
      var machine = NBDHandshake()
      _ = receive(&machine, u32(3) + Wire.structured + Wire.setContexts("disk", ["x:y"]))
      let actions = machine.contextsFound((0..<count).map { "x:\($0)" })
      _ = receive(&machine, Wire.go("disk"))
      guard case .beginTransmission(let session) = machine.exportFound(HandshakeOwner.disk).last
      else {
        Issue.record("no transmission")
        continue
      }
      #expect(session.contexts.count == (count == 16 ? 16 : 0))
      #expect(actions.count == 1)
    }
  }

  @Test func `data of exactly the limit are parsed`() {
    var owner = owner()
    let types = [UInt16](repeating: 3, count: (100 - 6 - 4) / 2)
    owner.feed(Wire.go("disk", types))
    #expect(owner.actions.last == .beginTransmission(NBDSession(export: HandshakeOwner.disk)))
  }

  @Test func `an unknown option is skipped up to its limit`() {
    var owner = owner()
    owner.feed(Wire.option(99, [UInt8](repeating: 0, count: 1000)))
    #expect(owner.actions.last == .send(Wire.unsupported(99)))
    #expect(owner.unconsumed.isEmpty)
  }

  @Test func `skipped data are not kept and parsed data are kept no longer than needed`() {
    var machine = NBDHandshake(limits: Self.limits)
    _ = receive(&machine, u32(3) + Wire.option(99, [UInt8](repeating: 0, count: 1000)).dropLast())
    #expect(bytesHeld(by: machine) == 0)
    _ = receive(&machine, [0] + Wire.info("disk").dropLast())
    #expect(bytesHeld(by: machine) == Wire.infoData("disk", []).count - 1)
    _ = receive(&machine, [0])
    _ = machine.exportFound(HandshakeOwner.disk)
    #expect(bytesHeld(by: machine) == 0)
  }

  private func bytesHeld(by machine: NBDHandshake) -> Int {
    Mirror(reflecting: machine).children.reduce(0) { sum, child in
      sum + ((child.value as? [UInt8])?.count ?? 0)
    }
  }

  @Test(arguments: [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 99] as [UInt32])
  func `an absurd length closes at once`(_ option: UInt32) {
    for length in [1001, .max] as [UInt32] {
      var owner = owner()
      owner.feed(text("IHAVEOPT") + u32(option) + u32(length))
      #expect(owner.isClosedForCause)
    }
  }

  @Test func `one option more than the limit closes`() {
    var owner = owner()
    for _ in 0..<4 { owner.feed(Wire.info("disk")) }
    #expect(!owner.isEnded)
    owner.feed(Wire.info("disk"))
    #expect(owner.isClosedForCause)
  }

  @Test func `a list raises the number of options, but only once`() {
    var owner = owner(listing: 3)
    let allowance = 4 + 2 * 3
    for _ in 0..<allowance { owner.feed(Wire.list) }
    #expect(!owner.isEnded)
    owner.feed(Wire.list)
    #expect(owner.isClosedForCause)
  }

  @Test func `the advertised maximum is the one of the limits`() {
    var owner = owner()
    owner.feed(Wire.info("disk", [3]))
    let blockSizes = Wire.reply(6, 3, u16(3) + u32(1) + u32(4096) + u32(8192))
    #expect(owner.sent.suffix(34 + 20) == blockSizes + Wire.ack(6))
  }

  @Test func `the defaults follow the specification`() {
    let limits = NBDLimits()
    #expect(limits.maximumPayloadBytes == 33_554_432)
    #expect(NBDLimits.maximumStringBytes == 4096)
  }

  @Test func `a name of 4096 bytes is looked up`() {
    let name = String(repeating: "n", count: 4096)
    for option in [Wire.exportName(name), Wire.go(name)] {
      var machine = NBDHandshake()
      let actions = receive(&machine, u32(3) + option).actions
      #expect(actions == [.lookUpExport(name: name, intent: .serve)])
    }
  }
}
