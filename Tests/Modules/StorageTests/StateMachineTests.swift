import BlockModel
import Testing

@testable import Storage

/// Proves the pure parts: when lost writes are reported, how ranges are cut, how extents are read,
/// how sizes are worded.
@Suite struct StateMachineTests {
  // MARK: Ledger

  /// One letter an event: `w0` a write of generation 0 ends, `x0` a connection of generation 0
  /// breaks, `b` a sync begins, `e` the oldest sync ends. Expected: the results of the syncs, in
  /// order: `+` success, `!` a loss is reported.
  @Test(arguments: [
    ("w0 b e", "+"), ("w0 b e x0 b e", "++"), ("x0 b e", "+"),
    ("w0 x0 b", "!"), ("w0 x0 b w1 b e", "!+"), ("w0 x0 b b e", "!+"), ("w0 b x0 e", "!"),
    ("w0 b b x0 e e b e", "!!+"), ("x0 w0 b", "!"), ("b w0 e x0 b", "+!"),
    ("x0 w1 x0 b e", "+"), ("x0 w1 x1 b", "!"), ("w0 x0 b x1 b e", "!+"),
    ("w0 x0 b w0 b", "!!"), ("w0 b x0 e w1 x1 b", "!!"),
  ])
  func lossesAreReported(events: String, expected: String) {
    #expect(Self.results(of: events, WriteLedger()) == expected)
  }

  @Test(arguments: [("w0 x0 b e", "+"), ("x0 w0 b x1 e", "+")])
  func writesWithFUAAreNeverLost(events: String, expected: String) {
    #expect(Self.results(of: events, WriteLedger(areWritesDurable: true)) == expected)
  }

  private static func results(of events: String, _ start: WriteLedger) -> String {
    var ledger = start
    var tickets: [WriteLedger.SyncTicket] = []
    var results = ""
    for event in events.split(separator: " ") {
      let generation = UInt64(event.dropFirst()) ?? 0
      switch event.first {
      case "w": ledger.finishWrite(in: generation)
      case "x": ledger.disconnect(in: generation)
      case "b":
        if let ticket = ledger.beginSync() { tickets.append(ticket) } else { results += "!" }
      default: results += ledger.finishSync(tickets.removeFirst()) ? "+" : "!"
      }
    }
    return results
  }

  // MARK: Parts

  @Test(
    arguments: [
      (0, 0, 4096, "0-0 0-0 0-0"), (0, 4096, 4096, "0-0 0-4096 4096-4096"),
      (1, 10, 4096, "1-11 11-11 11-11"), (4000, 96, 4096, "4000-4096 4096-4096 4096-4096"),
      (4000, 200, 4096, "4000-4096 4096-4096 4096-4200"),
      (100, 12288, 4096, "100-4096 4096-12288 12288-12388"),
      (8192, 5000, 4096, "8192-8192 8192-12288 12288-13192"), (7, 9, 1, "7-7 7-16 16-16"),
    ] as [(UInt64, UInt64, UInt64, String)])
  func rangesAreCutAtBlocks(start: UInt64, length: UInt64, block: UInt64, expected: String) {
    let parts = AlignedParts(of: ByteRange(start: start, length: length), block: block)
    let text = [parts.head, parts.middle, parts.tail].map { "\($0.start)-\($0.end)" }
    #expect(text.joined(separator: " ") == expected)
  }

  // MARK: Extents

  /// Flags: 1 is a hole, 2 reads as zeros.
  @Test(
    arguments: [
      ([(100, 3), (50, 0), (50, 3)], 100, 150), ([(200, 0)], 0, 200),
      ([(40, 3), (500, 0)], 40, 200),
      ([(10, 2), (10, 1), (10, 0), (10, 2)], 10, 30),
      ([(10, 3), (10, 0), (10, 3), (10, 0)], 10, 20),
    ] as [([(UInt64, UInt32)], UInt64, UInt64)])
  func theFirstDataIsFound(extents: [(UInt64, UInt32)], start: UInt64, end: UInt64) {
    var scan = ExtentScan(from: 0, limit: 200)
    for (length, flags) in extents { scan.add(length: length, flags: flags) }
    #expect(scan.data == ByteRange(start: start, end: end))
  }

  @Test func extentsBeforeThePositionAreSkipped() {
    var scan = ExtentScan(from: 1000, limit: 5000)
    scan.beginAnswer(leadBytes: 1000)
    scan.add(length: 600, flags: 0)
    #expect(scan.data == nil)
    scan.add(length: 1000, flags: 3)
    #expect(scan.position == 1600 && scan.data == nil)
    scan.add(length: 100, flags: 0)
    #expect(scan.data == ByteRange(start: 1600, end: 1700))
  }

  @Test func nothingButZerosIsComplete() {
    var scan = ExtentScan(from: 10, limit: 200)
    scan.add(length: .max, flags: 2)
    #expect(scan.isComplete && scan.data == nil)
  }

  // MARK: Words

  @Test(
    arguments: [
      (5, "5 bytes"), (0, "0 bytes"), (1024, "1K"), (20 << 30, "20G"), (3 << 40, "3T"),
      (1 << 20 | 1, "1048577 bytes"), (1536 << 20, "1536M"),
    ] as [(UInt64, String)])
  func sizesAreWordedAsInTheConfiguration(byteCount: UInt64, expected: String) {
    #expect(StorageError.size(byteCount) == expected)
  }
}
