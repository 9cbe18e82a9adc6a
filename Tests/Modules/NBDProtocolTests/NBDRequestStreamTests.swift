import NBDProtocol
import Testing

/// Proves what the stream of requests tells its owner, whatever pieces it arrives in: what to
/// execute, which refusal follows a payload that nobody wants, and where the stream ends.
@Suite struct NBDRequestStreamTests {
  private static let export = NBDExport(
    name: "disk", sizeBytes: 1 << 20, isReadOnly: false, canMultiConn: true)

  private static func limits(_ headers: NBDHeaderStyle = .simple) -> NBDExportLimits {
    NBDExportLimits(
      NBDSession(export: export, headers: headers),
      limits: NBDLimits(maximumPayloadBytes: 4096, maximumDrainedPayloadBytes: 8192))
  }

  private static func request(
    _ command: UInt16, flags: UInt16 = 0, cookie: UInt64, offset: UInt64 = 0, length: UInt32
  ) -> [UInt8] {
    let fields = [
      u32(0x2560_9513), u16(flags), u16(command), u64(cookie), u64(offset), u32(length),
    ]
    return fields.flatMap { $0 }
  }

  /// Feeds the stream in pieces of `pieceBytes` and plays the owner, who takes payloads of writes.
  private static func steps(_ bytes: [UInt8], pieceBytes: Int) -> [NBDRequestStream.Step] {
    var stream = NBDRequestStream(limits())
    var steps: [NBDRequestStream.Step] = []
    var arrived: [UInt8] = []
    var wanted = 0
    for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
      arrived += bytes[start..<min(start + pieceBytes, bytes.count)]
      while true {
        if wanted > 0 {
          guard arrived.count >= wanted else { break }
          arrived.removeFirst(wanted)
          wanted = 0
        }
        let (consumed, step) = unsafe arrived.withUnsafeBytes { unsafe stream.next($0) }
        arrived.removeFirst(consumed)
        if step == .wait { break }
        steps.append(step)
        if case .disconnect = step { return steps }
        if case .execute(.write, let request) = step { wanted = Int(request.length) }
      }
    }
    return steps
  }

  private static func tag(_ cookie: UInt64, offset: UInt64 = 0) -> NBDRequestTag {
    NBDRequestTag(cookie: cookie, offset: offset)
  }

  @Test(arguments: [1, 2, 27, 28, 29, 100, 20_000])
  func `steps do not depend on the pieces`(pieceBytes: Int) {
    let payload = [UInt8](repeating: 0x25, count: 5000)
    let stream: [[UInt8]] = [
      Self.request(1, cookie: 1, length: 100), Array(payload.prefix(100)),
      Self.request(1, cookie: 2, length: 5000), payload,
      Self.request(0, cookie: 3, offset: 512, length: 512),
      Self.request(0, cookie: 4, offset: 1 << 20, length: 1),
      Self.request(2, cookie: 5, length: 0), Self.request(3, cookie: 6, length: 0),
    ]
    #expect(
      Self.steps(stream.flatMap { $0 }, pieceBytes: pieceBytes) == [
        .execute(.write, NBDRequest(command: 1, cookie: 1, offset: 0, length: 100)),
        .refuse(Self.tag(2), .invalid, "longer than one request may be"),
        .execute(.read, NBDRequest(command: 0, cookie: 3, offset: 512, length: 512)),
        .refuse(Self.tag(4, offset: 1 << 20), .invalid, "past the end of the disk"),
        .disconnect(.requested),
      ])
  }

  @Test func `what is not a request ends the stream`() {
    let stream = Self.request(3, cookie: 1, length: 0) + [UInt8](repeating: 0, count: 28)
    #expect(
      Self.steps(stream, pieceBytes: 1000) == [
        .execute(.flush, NBDRequest(command: 3, cookie: 1, offset: 0, length: 0)),
        .disconnect(.notARequest),
      ])
  }

  @Test func `a payload is thrown away as it arrives, and its owner knows`() {
    var stream = NBDRequestStream(Self.limits())
    let header = Self.request(1, cookie: 9, length: 5000)
    func feed(_ bytes: [UInt8]) -> (Int, NBDRequestStream.Step) {
      unsafe bytes.withUnsafeBytes { unsafe stream.next($0) }
    }
    #expect(feed(header + [1, 2, 3]) == (31, .wait))
    #expect(stream.isDraining)
    #expect(feed([]) == (0, .wait))
    let refusal = NBDRequestStream.Step.refuse(
      Self.tag(9), .invalid, "longer than one request may be")
    #expect(feed([UInt8](repeating: 0, count: 5025)) == (4997, refusal))
    #expect(!stream.isDraining)
  }

  @Test func `a payload too long to throw away ends the stream`() {
    #expect(
      Self.steps(Self.request(1, cookie: 1, length: 8193), pieceBytes: 64) == [
        .disconnect(.payloadTooLarge(byteCount: 8193))
      ])
  }
}
