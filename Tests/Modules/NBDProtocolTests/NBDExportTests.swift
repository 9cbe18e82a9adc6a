import NBDProtocol
import Testing

/// Proves that an export offers exactly what the server can do for it, with the specification's
/// bits, and that the rule for names is the specification's.
@Suite struct NBDExportTests {
  @Test(
    arguments: [
      // HAS_FLAGS 1, READ_ONLY 2, SEND_FLUSH 4, SEND_FUA 8, SEND_TRIM 32, SEND_WRITE_ZEROES 64,
      // CAN_MULTI_CONN 256, SEND_CACHE 1024, SEND_FAST_ZERO 2048.
      (false, false, false, 1 + 4 + 8 + 32 + 64 + 1024),
      (false, true, false, 1 + 4 + 8 + 32 + 64 + 256 + 1024),
      (false, true, true, 1 + 4 + 8 + 32 + 64 + 256 + 1024 + 2048),
      (true, false, false, 1 + 2 + 4 + 8 + 1024),
      (true, true, true, 1 + 2 + 4 + 8 + 256 + 1024),
    ] as [(Bool, Bool, Bool, UInt16)])
  func `transmission flags of an export`(
    _ isReadOnly: Bool, _ canMultiConn: Bool, _ canFastZero: Bool, _ bits: UInt16
  ) {
    let export = NBDExport(
      name: "disk", sizeBytes: 1, isReadOnly: isReadOnly, canMultiConn: canMultiConn,
      canFastZero: canFastZero)
    #expect(NBDSession(export: export).transmissionFlags.rawValue == bits)
  }

  @Test(
    arguments: [
      // SEND_DF 128, BLOCK_STATUS_PAYLOAD 4096.
      (.simple, false, 0), (.structured, false, 128), (.structured, true, 128),
      (.extended, false, 128), (.extended, true, 128 + 4096),
    ] as [(NBDHeaderStyle, Bool, UInt16)])
  func `transmission flags that negotiation adds`(
    _ headers: NBDHeaderStyle, _ hasContexts: Bool, _ bits: UInt16
  ) {
    let contexts = hasContexts ? [NBDMetaContext(identifier: 0, name: "base:allocation")] : []
    let plain = NBDSession(export: HandshakeOwner.disk).transmissionFlags
    let session = NBDSession(
      export: HandshakeOwner.disk, headers: headers, contexts: contexts)
    #expect(session.transmissionFlags.subtracting(plain).rawValue == bits)
  }

  @Test(arguments: [
    ("", true), ("disk@2026-11-21T10:03:07.512Z", true), ("dísk", true), ("a\0b", false),
    (String(repeating: "x", count: 4096), true), (String(repeating: "x", count: 4097), false),
    (String(repeating: "é", count: 2049), false),
  ])
  func `valid names`(_ name: String, _ isValid: Bool) {
    #expect(NBDExport.isValidName(name) == isValid)
  }

  @Test func `options have the numbers of the specification`() {
    let numbers: [NBDOption: UInt32] = [
      .exportName: 1, .abort: 2, .list: 3, .peekExport: 4, .startTLS: 5, .info: 6, .go: 7,
      .structuredReply: 8, .listMetaContext: 9, .setMetaContext: 10, .extendedHeaders: 11,
    ]
    #expect(numbers.count == NBDOption.allCases.count)
    for (option, number) in numbers { #expect(option.rawValue == number) }
  }
}
