import NBDProtocol
import Testing

/// Proves who gets what before and after STARTTLS, by the listener's policy, and that nothing which
/// was agreed in the clear counts inside TLS.
@Suite struct NBDHandshakeTLSTests {
  private static let startTLS = Wire.option(5, [])
  private static let tlsRequired: UInt32 = 0x8000_0005

  private func owner(_ policy: NBDTLSPolicy) -> HandshakeOwner {
    var owner = HandshakeOwner(tls: policy)
    owner.feed(fixedNoZeroes)
    return owner
  }

  @Test(arguments: [3, 6, 7, 8, 9, 10, 11, 99] as [UInt32])
  func `where TLS is required, an option in the clear is refused`(option: UInt32) {
    var owner = owner(.required)
    owner.feed(Wire.option(option, [UInt8](repeating: 0, count: 12)))
    let message = "TLS is required: begin with STARTTLS"
    #expect(owner.actions.last == refusal(option, Self.tlsRequired, message))
  }

  @Test func `where TLS is required, EXPORT_NAME in the clear closes and ABORT is answered`() {
    var owner = owner(.required)
    owner.feed(Wire.option(1, text("disk")))
    #expect(owner.isClosedForCause)
    var other = self.owner(.required)
    other.feed(Wire.option(2, []))
    #expect(other.actions.last == .close(reason: nil))
  }

  @Test(arguments: [NBDTLSPolicy.required, .optional])
  func `after STARTTLS exports are served`(policy: NBDTLSPolicy) {
    var owner = owner(policy)
    owner.feed(Self.startTLS)
    #expect(owner.actions.suffix(2) == [.send(Wire.ack(5)), .startTLS])
    owner.feed(Wire.go("disk"))
    #expect(owner.actions.last == .beginTransmission(NBDSession(export: HandshakeOwner.disk)))
  }

  @Test func `where TLS is optional, a client may do without`() {
    var owner = owner(.optional)
    owner.feed(Wire.go("disk"))
    #expect(owner.actions.last == .beginTransmission(NBDSession(export: HandshakeOwner.disk)))
  }

  @Test func `what was agreed in the clear is forgotten`() {
    var owner = owner(.optional)
    owner.feed(Wire.structured + Wire.setContexts("disk", ["base:allocation"]))
    owner.feed(Self.startTLS)
    owner.feed(Wire.go("disk"))
    #expect(owner.actions.last == .beginTransmission(NBDSession(export: HandshakeOwner.disk)))
  }

  @Test func `without TLS, with data, and a second time STARTTLS is refused`() {
    var off = owner(.off)
    off.feed(Self.startTLS)
    #expect(off.actions.last == refusal(5, 0x8000_0001, ""))
    var owner = owner(.required)
    owner.feed(Wire.option(5, [1]))
    #expect(owner.actions.last == refusal(5, 0x8000_0003, "STARTTLS takes no data"))
    owner.feed(Self.startTLS)
    owner.feed(Self.startTLS)
    #expect(owner.actions.last == refusal(5, 0x8000_0003, "TLS has begun already"))
  }
}
