import NBDProtocol
import Testing

/// Proves that every request gets the verdict of the specification before anything is done for it,
/// and that what is executed lies inside the export, whatever the request says.
@Suite struct NBDValidationTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let request: NBDRequest
    let verdict: NBDRequestVerdict

    init(
      _ description: String, _ command: UInt16, offset: UInt64 = 0, length: UInt32 = 0,
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
  private static let mebibyte: UInt32 = 1 << 20
  private static let einval = NBDRequestVerdict.refuse(.invalid, drainBytes: 0)
  private static let eperm = NBDRequestVerdict.refuse(.notPermitted, drainBytes: 0)
  private static let enospc = NBDRequestVerdict.refuse(.noSpace, drainBytes: 0)

  private static func limits(
    sizeBytes: UInt64 = size, isReadOnly: Bool = false, limits: NBDLimits = NBDLimits()
  ) -> NBDExportLimits {
    let export = NBDExport(
      name: "disk", sizeBytes: sizeBytes, isReadOnly: isReadOnly, canMultiConn: true)
    return NBDExportLimits(export, limits: limits)
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
      .refuse(.invalid, drainBytes: 32 * mebibyte + 1)),
    Case(
      "write as much as is drained", 1, length: 64 * mebibyte,
      .refuse(.invalid, drainBytes: 64 * mebibyte)),
    Case("flush with an offset", 3, offset: 1, einval),
    Case("flush with a length", 3, length: 1, einval),
    Case("flush with NO_HOLE", 3, flags: 2, einval),
    Case("trim past the end", 4, offset: size, length: 1, einval),
    Case("trim nothing", 4, einval),
    Case("trim with NO_HOLE", 4, length: 1, flags: 2, einval),
    Case("cache, not offered", 5, length: 1, einval),
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
      .disconnect(.payloadTooLarge)),
    Case("write the largest length", 1, length: .max, .disconnect(.payloadTooLarge)),
  ]

  static let onReadOnlyExport = [
    Case("read", 0, length: 1, .execute(.read)),
    Case("write", 1, length: 512, .refuse(.notPermitted, drainBytes: 512)),
    Case("write past the end", 1, offset: size, length: 3, .refuse(.notPermitted, drainBytes: 3)),
    Case("write more than is drained", 1, length: .max, .disconnect(.payloadTooLarge)),
    Case("trim", 4, length: 1, eperm),
    Case("zero", 6, length: 1, eperm),
    Case("flush", 3, .execute(.flush)),
    Case("disconnect", 2, .disconnect(.requested)),
    Case("unassigned command", 9, einval),
  ]

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
    func verdict(_ command: UInt16, _ length: UInt32) -> NBDRequestVerdict {
      small.validate(NBDRequest(command: command, cookie: 0, offset: 0, length: length))
    }
    #expect(verdict(0, 4096) == .execute(.read))
    #expect(verdict(0, 4097) == Self.einval)
    #expect(verdict(1, 4096) == .execute(.write))
    #expect(verdict(1, 4097) == .refuse(.invalid, drainBytes: 4097))
    #expect(verdict(1, 4098) == .disconnect(.payloadTooLarge))
    #expect(verdict(4, 1 << 20) == .execute(.trim))
  }

  @Test(arguments: [false, true])
  func `whatever is executed lies inside the export`(_ isReadOnly: Bool) {
    var random = SplitMix64(seed: 42)
    let limits = Self.limits(isReadOnly: isReadOnly)
    var executed: [NBDOperation: Int] = [:]
    for _ in 0..<200_000 {
      let request = randomRequest(using: &random)
      guard case .execute(let operation) = limits.validate(request) else { continue }
      executed[operation, default: 0] += 1
      if operation == .flush { continue }
      let (end, overflow) = request.offset.addingReportingOverflow(UInt64(request.length))
      #expect(!overflow && end <= Self.size && request.length > 0)
      if operation == .read || operation == .write {
        #expect(request.length <= 32 * Self.mebibyte)
      }
    }
    #expect(Set(executed.keys) == (isReadOnly ? [.read, .flush] : Self.allOperations))
  }

  private static let allOperations: Set<NBDOperation> = [
    .read, .write, .flush, .trim, .writeZeroes,
  ]

  /// Requests near the edges, where a uniform choice would find almost none.
  private func randomRequest(using random: inout SplitMix64) -> NBDRequest {
    let offsets: [UInt64] = [0, 1, Self.size - 1, Self.size, Self.size + 1, .max, random.next()]
    let lengths: [UInt32] = [
      0, 1, 4096, 32 * Self.mebibyte, 64 * Self.mebibyte, .max,
      UInt32(truncatingIfNeeded: random.next()),
    ]
    let flags = Bool.random(using: &random) ? 0 : UInt16.random(in: 0...63, using: &random)
    return NBDRequest(
      flags: NBDCommandFlags(rawValue: flags), command: .random(in: 0...9, using: &random),
      cookie: random.next(), offset: offsets.randomElement(using: &random)!,
      length: lengths.randomElement(using: &random)!)
  }
}
