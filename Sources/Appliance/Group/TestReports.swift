import BlockModel
import Journal
import SystemIO

/// What is left of a test when it is over: it stays on the group's timeline.
struct TestReport: Equatable, Sendable {
  var identity: GroupIdentifier
  var name: String
  var instant: Timestamp
  var started: Timestamp
  var ended: Timestamp
  var user: String
  var note: String
  var writtenBytes: UInt64
  /// Why it ended by itself; empty: somebody stopped it.
  var ending: String
  var check: TestCheck?
}

/// What a command said that was run while a test was open.
public struct TestCheck: Codable, Equatable, Sendable {
  public var command: String
  public var exitCode: Int
  public var seconds: Double

  enum CodingKeys: String, CodingKey {
    case command, seconds
    case exitCode = "exit_code"
  }

  public init(command: String, exitCode: Int, seconds: Double) {
    self.command = command
    self.exitCode = exitCode
    self.seconds = seconds
  }
}

/// The reports of a group's tests, oldest first: `tests` in its folder (docs/branch-format.md),
/// replaced as a whole.
///
/// A `SealedForm`, `TAPLTEST`: count (32 bits), then the reports.
struct TestReports: Equatable, Sendable {
  static let fileName = "tests"
  /// The oldest go when there are more.
  static let limit = 256
  private static let form = SealedForm(magic: 0x5441_504C_5445_5354, version: 1)  // "TAPLTEST"

  private(set) var reports: [TestReport] = []

  init() {}

  /// One of the same test replaces the one that is there.
  mutating func add(_ report: TestReport) {
    reports.removeAll { $0.identity == report.identity }
    reports.append(report)
    if reports.count > Self.limit { reports.removeFirst(reports.count - Self.limit) }
  }

  // MARK: File

  /// Blocks. What is damaged, or of another version, is empty: no more than memories are lost.
  init(readingFrom folder: String) throws(Errno) {
    let path = "\(folder)/\(Self.fileName)"
    guard Directory.exists(path) else { return }
    let bytes = try DurableFile.read(path, limit: 16 << 20)
    do { reports = try Self.decode(Self.form.open(bytes)) } catch { reports = [] }
  }

  /// Durable when it returns. Blocks.
  func write(to folder: String) throws(Errno) {
    try DurableFile.replace("\(folder)/\(Self.fileName)", with: encoded())
  }

  func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(UInt32(reports.count))
    for report in reports {
      for word in [report.identity.high, report.identity.low] { encoder.put(word) }
      for text in [report.name, report.user, report.note, report.ending] { encoder.put(text) }
      for instant in [report.instant, report.started, report.ended] {
        encoder.put(instant.rawValue)
      }
      encoder.put(report.writtenBytes)
      encoder.put(UInt8(report.check == nil ? 0 : 1))
      if let check = report.check {
        encoder.put(check.command)
        encoder.put(UInt64(bitPattern: Int64(check.exitCode)))
        encoder.put(check.seconds.bitPattern)
      }
    }
    return Self.form.seal(encoder.bytes)
  }

  private static func decode(_ fields: [UInt8]) throws(WireDecoder.Failure) -> [TestReport] {
    var decoder = WireDecoder(fields)
    var reports: [TestReport] = []
    for _ in 0..<(try decoder.take(UInt32.self)) {
      let identity = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
      let name = try decoder.takeString()
      let user = try decoder.takeString()
      let note = try decoder.takeString()
      let ending = try decoder.takeString()
      let instant = Timestamp(rawValue: try decoder.take())
      let started = Timestamp(rawValue: try decoder.take())
      let ended = Timestamp(rawValue: try decoder.take())
      let written = try decoder.take(UInt64.self)
      var check: TestCheck?
      if try decoder.take(UInt8.self) == 1 {
        check = TestCheck(
          command: try decoder.takeString(),
          exitCode: Int(Int64(bitPattern: try decoder.take())),
          seconds: Double(bitPattern: try decoder.take()))
      }
      reports.append(
        TestReport(
          identity: identity, name: name, instant: instant, started: started, ended: ended,
          user: user, note: note, writtenBytes: written, ending: ending, check: check))
    }
    return reports
  }
}
