import Journal
import NBDProtocol

/// A request that a client has sent, and what has become of it.
final class ClientRequest {
  let number: UInt64
  let command: NBDCommand
  let flags: NBDCommandFlags
  let disk: Int
  let offset: Int
  let length: Int
  let payload: [UInt8]

  /// The life of the site it was sent to: nothing of it can appear in another.
  var incarnation = 0
  /// The last record that was acknowledged, or seen, before it was sent.
  var floor: UInt64 = 0
  /// The records in which it was found so far, and how many bytes they cover.
  private(set) var records: [Record] = []
  private(set) var matchedBytes = 0

  init(
    number: UInt64, _ command: NBDCommand, _ flags: NBDCommandFlags, disk: Int, offset: Int,
    length: Int, payload: [UInt8] = []
  ) {
    self.number = number
    self.command = command
    self.flags = flags
    self.disk = disk
    self.offset = offset
    self.length = length
    self.payload = payload
  }

  var changesDisk: Bool { [.write, .trim, .writeZeroes].contains(command) }
  var isFUA: Bool { flags.contains(.fua) }
  var isWholeInOrder: Bool { matchedBytes == length }

  private var kind: RecordKind {
    switch command {
    case .write: .write
    case .writeZeroes where flags.contains(.noHole): .zero
    default: .trim
    }
  }

  /// Whether the record is the next piece of this request; then it is noted.
  func takes(_ record: Record) -> Bool {
    guard !isWholeInOrder, record.disk == disk, record.header.kind == kind,
      record.start == offset + matchedBytes, record.end <= offset + length,
      kind != .write || record.payload[...] == payload[matchedBytes..<matchedBytes + record.length]
    else { return false }
    matchedBytes += record.length
    records.append(record)
    return true
  }
}

extension ClientRequest: CustomStringConvertible {
  var description: String {
    let mark = isFUA ? " FUA" : flags.contains(.noHole) ? " NO_HOLE" : ""
    return command == .flush
      ? "#\(number) flush" : "#\(number) \(command)\(mark) disk \(disk) \(offset)+\(length)"
  }
}
