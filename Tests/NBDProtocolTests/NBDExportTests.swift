import NBDProtocol
import Testing

/// Proves that an export offers exactly what the server can do for it, with the specification's
/// bits, and that the rule for names is the specification's.
@Suite struct NBDExportTests {
  @Test(
    arguments: [
      // HAS_FLAGS 1, READ_ONLY 2, SEND_FLUSH 4, SEND_FUA 8, SEND_TRIM 32, SEND_WRITE_ZEROES 64,
      // CAN_MULTI_CONN 256.
      (false, false, 1 + 4 + 8 + 32 + 64),
      (false, true, 1 + 4 + 8 + 32 + 64 + 256),
      (true, false, 1 + 2 + 4 + 8),
      (true, true, 1 + 2 + 4 + 8 + 256),
    ] as [(Bool, Bool, UInt16)])
  func `transmission flags`(_ isReadOnly: Bool, _ canMultiConn: Bool, _ bits: UInt16) {
    let export = NBDExport(
      name: "disk", sizeBytes: 1, isReadOnly: isReadOnly, canMultiConn: canMultiConn)
    #expect(export.transmissionFlags.rawValue == bits)
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
