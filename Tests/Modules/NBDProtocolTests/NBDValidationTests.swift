import NBDProtocol
import TestSupport
import Testing

/// Proves that every request gets the verdict of the specification before anything is done for it,
/// and that what is executed lies inside the export, whatever the request says.
@Suite struct NBDValidationTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let request: NBDRequest
    let verdict: NBDRequestVerdict

    init(
      _ description: String, _ command: UInt16, offset: UInt64 = 0, length: UInt64 = 0,
      flags: UInt16 = 0, _ verdict: NBDRequestVerdict
    ) {
      testDescription = description
      request = NBDRequest(
        flags: NBDCommandFlags(rawValue: flags), command: command, cookie: 7, offset: offset,
        length: length)
      self.verdict = verdict
    }
  }

  private static let size: UInt64 = 1 << 30
  private static let mebibyte: UInt64 = 1 << 20
  private static let einval = NBDRequestVerdict.refuse(.invalid, drainBytes: 0)
  private static let eperm = NBDRequestVerdict.refuse(.notPermitted, drainBytes: 0)
  private static let enospc = NBDRequestVerdict.refuse(.noSpace, drainBytes: 0)

  private static func tooLarge(_ byteCount: UInt64) -> NBDRequestVerdict {
    .disconnect(.payloadTooLarge(byteCount: byteCount))
  }

  private static func limits(
    sizeBytes: UInt64 = size, isReadOnly: Bool = false, canFastZero: Bool = false,
    headers: NBDHeaderStyle = .simple, contextCount: UInt32 = 0, limits: NBDLimits = NBDLimits()
  ) -> NBDExportLimits {
    let export = NBDExport(
      name: "disk", sizeBytes: sizeBytes, isReadOnly: isReadOnly, canMultiConn: true,
      canFastZero: canFastZero)
    let contexts = (0..<contextCount).map { NBDMetaContext(identifier: $0, name: "x:\($0)") }
    return NBDExportLimits(
      NBDSession(export: export, headers: headers, contexts: contexts), limits: limits)
  }

  // Commands: 0 READ, 1 WRITE, 2 DISC, 3 FLUSH, 4 TRIM, 5 CACHE, 6 WRITE_ZEROES, 7 BLOCK_STATUS.
  // Flags: 1 FUA, 2 NO_HOLE, 4 DF, 8 REQ_ONE, 16 FAST_ZERO, 32 PAYLOAD_LEN.

  static let executed = [
    Case("read one byte", 0, offset: 5, length: 1, .execute(.read)),
    Case("read the last byte", 0, offset: size - 1, length: 1, .execute(.read)),
    Case("read the maximum", 0, length: 32 * mebibyte, .execute(.read)),
    Case("read with FUA, which has no effect", 0, length: 512, flags: 1, .execute(.read)),
    Case("write unaligned", 1, offset: 3, length: 1021, .execute(.write)),
    Case("write to the end", 1, offset: size - 4096, length: 4096, .execute(.write)),
    Case("write the maximum with FUA", 1, length: 32 * mebibyte, flags: 1, .execute(.write)),
    Case("flush", 3, .execute(.flush)),
    Case("flush with FUA", 3, flags: 1, .execute(.flush)),
    Case("trim far above the maximum payload", 4, length: 1 << 30, .execute(.trim)),
    Case("trim with FUA", 4, length: 1, flags: 1, .execute(.trim)),
    Case("cache far above the maximum payload", 5, length: 1 << 30, .execute(.cache)),
    Case("zero everything", 6, length: 1 << 30, .execute(.writeZeroes)),
    Case("zero with FUA and NO_HOLE", 6, offset: 1, length: 1, flags: 3, .execute(.writeZeroes)),
  ]

  static let refused = [
    Case("read past the end", 0, offset: size - 1, length: 2, einval),
    Case("read from the end", 0, offset: size, length: 1, einval),
    Case("read whose end overflows", 0, offset: .max, length: 2, einval),
    Case("read above the maximum", 0, length: 32 * mebibyte + 1, einval),
    Case("read nothing", 0, einval),
    Case("read with NO_HOLE", 0, length: 1, flags: 2, einval),
    Case("read with DF, not negotiated", 0, length: 1, flags: 4, einval),
    Case("read with an unknown flag", 0, length: 1, flags: 0x8000, einval),
    Case(
      "write past the end", 1, offset: size - 1, length: 2, .refuse(.noSpace, drainBytes: 2)),
    Case(
      "write whose end overflows", 1, offset: .max, length: 9, .refuse(.noSpace, drainBytes: 9)),
    Case("write nothing", 1, einval),
    Case("write with NO_HOLE", 1, length: 4, flags: 2, .refuse(.invalid, drainBytes: 4)),
    Case("write with PAYLOAD_LEN", 1, length: 4, flags: 32, .refuse(.invalid, drainBytes: 4)),
    Case(
      "write above the maximum", 1, length: 32 * mebibyte + 1,
      .refuse(.invalid, drainBytes: (32 << 20) + 1)),
    Case(
      "write as much as is drained", 1, length: 64 * mebibyte,
      .refuse(.invalid, drainBytes: 64 << 20)),
    Case("flush with an offset", 3, offset: 1, einval),
    Case("flush with a length", 3, length: 1, einval),
    Case("flush with NO_HOLE", 3, flags: 2, einval),
    Case("trim past the end", 4, offset: size, length: 1, einval),
    Case("trim nothing", 4, einval),
    Case("trim with NO_HOLE", 4, length: 1, flags: 2, einval),
    Case("cache past the end", 5, offset: size, length: 1, einval),
    Case("cache nothing", 5, einval),
    Case("cache with an unknown flag", 5, length: 1, flags: 0x40, einval),
    Case("zero past the end", 6, offset: size, length: 1, enospc),
    Case("zero whose end overflows", 6, offset: .max, length: .max, enospc),
    Case("zero nothing", 6, einval),
    Case("zero with FAST_ZERO, not offered", 6, length: 1, flags: 16, einval),
    Case("block status, not negotiated", 7, length: 1, einval),
    Case("resize", 8, einval),
    Case("first unassigned command", 9, einval),
    Case("last unassigned command", .max, length: 1, einval),
  ]

  static let ending = [
    Case("disconnect", 2, .disconnect(.requested)),
    Case("disconnect with junk", 2, offset: 1, length: 2, flags: 0xff, .disconnect(.requested)),
    Case(
      "write more than is drained", 1, length: 64 * mebibyte + 1,
      tooLarge(64 * mebibyte + 1)),
    Case("write the largest length", 1, length: .max, tooLarge(.max)),
  ]

  static let onReadOnlyExport = [
    Case("read", 0, length: 1, .execute(.read)),
    Case("write", 1, length: 512, .refuse(.notPermitted, drainBytes: 512)),
    Case("write past the end", 1, offset: size, length: 3, .refuse(.notPermitted, drainBytes: 3)),
    Case("write more than is drained", 1, length: .max, tooLarge(.max)),
    Case("trim", 4, length: 1, eperm),
    Case("zero", 6, length: 1, eperm),
    Case("flush", 3, .execute(.flush)),
    Case("disconnect", 2, .disconnect(.requested)),
    Case("unassigned command", 9, einval),
  ]

  static let structured = [
    Case("read with DF", 0, length: 1, flags: 4, .execute(.read)),
    Case(
      "read above the maximum", 0, length: 32 * mebibyte + 1, .refuse(.overflow, drainBytes: 0)),
    Case("block status", 7, length: size, .execute(.blockStatus)),
    Case("block status of one extent", 7, length: 1, flags: 8, .execute(.blockStatus)),
    Case("block status past the end", 7, offset: 1, length: size, einval),
    Case("block status of nothing", 7, einval),
    Case("block status with DF", 7, length: 1, flags: 4, einval),
    Case("block status with PAYLOAD_LEN", 7, length: 12, flags: 32, einval),
    Case("zero with FAST_ZERO", 6, length: 1, flags: 16, .execute(.writeZeroes)),
    Case("trim with FAST_ZERO", 4, length: 1, flags: 16, einval),
    Case("write with DF", 1, length: 4, flags: 4, .refuse(.invalid, drainBytes: 4)),
  ]

  /// The payload, where there is one, has the request's length.
  static let extended = [
    Case("write", 1, length: 4, flags: 32, .execute(.write)),
    Case("write with FUA", 1, length: 4, flags: 33, .execute(.write)),
    Case("write whose payload is not announced", 1, length: 4, .execute(.write)),
    Case("write as qemu sends it", 1, length: 4, flags: 1, .execute(.write)),
    Case(
      "write past the end, not announced", 1, offset: size, length: 4,
      .refuse(.noSpace, drainBytes: 4)),
    Case(
      "write past the end", 1, offset: size, length: 4, flags: 32,
      .refuse(.noSpace, drainBytes: 4)),
    Case("write more than is drained", 1, length: .max, flags: 32, tooLarge(.max)),
    Case("trim everything", 4, length: size, .execute(.trim)),
    Case("trim with a length of 64 bits", 4, length: .max, einval),
    Case("trim with a payload", 4, length: 9, flags: 32, .refuse(.invalid, drainBytes: 9)),
    Case("read with a payload", 0, length: 9, flags: 32, .refuse(.invalid, drainBytes: 9)),
    Case("flush with a payload", 3, length: 9, flags: 32, .refuse(.invalid, drainBytes: 9)),
    Case("unassigned with a payload", 9, length: 9, flags: 32, .refuse(.invalid, drainBytes: 9)),
    Case(
      "unassigned with more than is drained", 9, length: 1 << 40, flags: 32,
      tooLarge(1 << 40)),
    Case("block status", 7, length: size, .execute(.blockStatus)),
    Case("filtered block status", 7, length: 12, flags: 32 + 8, .execute(.filteredBlockStatus)),
    Case(
      "filter of 16 contexts", 7, length: 8 + 64, flags: 32, .execute(.filteredBlockStatus)),
    Case(
      "filter of more contexts than there can be", 7, length: 8 + 68, flags: 32,
      .refuse(.invalid, drainBytes: 76)),
    Case(
      "filter with a wrong flag", 7, length: 12, flags: 32 + 4, .refuse(.invalid, drainBytes: 12)),
    Case("disconnect with a payload", 2, length: 4, flags: 32, .disconnect(.requested)),
  ]

  @Test(arguments: structured)
  func `verdict with structured replies`(_ row: Case) {
    let limits = Self.limits(canFastZero: true, headers: .structured, contextCount: 1)
    #expect(limits.validate(row.request) == row.verdict)
  }

  @Test(arguments: extended)
  func `verdict with extended headers`(_ row: Case) {
    let limits = Self.limits(headers: .extended, contextCount: 1)
    #expect(limits.validate(row.request) == row.verdict)
  }

  @Test(arguments: [NBDHeaderStyle.structured, .extended])
  func `block status is refused when no context is selected`(_ headers: NBDHeaderStyle) {
    let limits = Self.limits(headers: headers)
    let plain = NBDRequest(command: 7, cookie: 0, offset: 0, length: 12)
    #expect(limits.validate(plain) == Self.einval)
    let filtered = NBDRequest(
      flags: .payloadLength, command: 7, cookie: 0, offset: 0, length: 12)
    let drained: UInt32 = headers == .extended ? 12 : 0
    #expect(limits.validate(filtered) == .refuse(.invalid, drainBytes: drained))
  }

  @Test(arguments: executed + refused + ending)
  func `verdict on a writable export`(_ row: Case) {
    #expect(Self.limits().validate(row.request) == row.verdict)
  }

  @Test(arguments: onReadOnlyExport)
  func `verdict on a read-only export`(_ row: Case) {
    #expect(Self.limits(isReadOnly: true).validate(row.request) == row.verdict)
  }

  @Test func `an empty export executes nothing but flush`() {
    let empty = Self.limits(sizeBytes: 0)
    #expect(empty.validate(NBDRequest(command: 0, cookie: 0, offset: 0, length: 1)) == Self.einval)
    #expect(
      empty.validate(NBDRequest(command: 3, cookie: 0, offset: 0, length: 0)) == .execute(.flush))
  }

  @Test func `the maximum payload is the one of the limits`() {
    let small = Self.limits(
      limits: NBDLimits(maximumPayloadBytes: 4096, maximumDrainedPayloadBytes: 4097))
    func verdict(_ command: UInt16, _ length: UInt64) -> NBDRequestVerdict {
      small.validate(NBDRequest(command: command, cookie: 0, offset: 0, length: length))
    }
    #expect(verdict(0, 4096) == .execute(.read))
    #expect(verdict(0, 4097) == Self.einval)
    #expect(verdict(1, 4096) == .execute(.write))
    #expect(verdict(1, 4097) == .refuse(.invalid, drainBytes: 4097))
    #expect(verdict(1, 4098) == Self.tooLarge(4098))
    #expect(verdict(4, 1 << 20) == .execute(.trim))
  }

  @Test(
    arguments: [
      (false, .simple), (true, .simple), (false, .structured), (false, .extended),
      (true, .extended),
    ] as [(Bool, NBDHeaderStyle)])
  func `whatever is executed lies inside the export, whatever is drained is bounded`(
    _ isReadOnly: Bool, _ headers: NBDHeaderStyle
  ) {
    var random = SeededGenerator(seed: 42)
    let limits = Self.limits(
      isReadOnly: isReadOnly, canFastZero: true, headers: headers, contextCount: 3)
    var executed = Set<UInt16>()
    for _ in 0..<100_000 {
      let request = randomRequest(headers, using: &random)
      switch limits.validate(request) {
      case .disconnect: continue
      case .refuse(_, let drainBytes):
        let hasPayload =
          request.command == 1 || headers == .extended && request.flags.rawValue & 32 != 0
        #expect(UInt64(drainBytes) == (hasPayload ? request.length : 0))
        #expect(drainBytes <= 64 << 20)
      case .execute(let operation):
        executed.insert(request.command)
        if operation == .flush || operation == .filteredBlockStatus { continue }
        let (end, overflow) = request.offset.addingReportingOverflow(request.length)
        #expect(!overflow && end <= Self.size && request.length > 0)
        if operation == .read || operation == .write {
          #expect(request.length <= 32 * Self.mebibyte)
        }
      }
    }
    let writing: Set<UInt16> = isReadOnly ? [] : [1, 4, 6]
    let reading: Set<UInt16> = headers == .simple ? [0, 3, 5] : [0, 3, 5, 7]
    #expect(executed == writing.union(reading))
  }

  /// Requests near the edges, where a uniform choice would find almost none.
  private func randomRequest(
    _ headers: NBDHeaderStyle, using random: inout SeededGenerator
  ) -> NBDRequest {
    let offsets: [UInt64] = [0, 1, Self.size - 1, Self.size, Self.size + 1, .max, random.next()]
    let lengths: [UInt64] = [
      0, 1, 12, 4096, 32 * Self.mebibyte, 64 * Self.mebibyte, .max, random.next(),
    ]
    let flags = Bool.random(using: &random) ? 0 : UInt16.random(in: 0...63, using: &random)
    let length = lengths.randomElement(using: &random)!
    return NBDRequest(
      flags: NBDCommandFlags(rawValue: flags), command: .random(in: 0...9, using: &random),
      cookie: random.next(), offset: offsets.randomElement(using: &random)!,
      length: headers == .extended ? length : UInt64(UInt32(truncatingIfNeeded: length)))
  }
}
