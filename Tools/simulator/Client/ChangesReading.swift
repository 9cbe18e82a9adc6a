import BlockModel
import NBDProtocol
import SystemIO

/// What a disk's `tapline:changed-since:INSTANT` must say of each of its bytes.
struct ExpectedChanges {
  private let bytes: ClosedRange<Int>
  private var mustChange: [Bool]
  private var mayChange: [Bool]

  /// - Parameters:
  ///   - certain: records whose bytes have changed.
  ///   - possible: those that may count as later, or not.
  init(byteCount: Int, disk: Int, certain: ArraySlice<Record>, possible: ArraySlice<Record> = []) {
    bytes = 0...byteCount
    mustChange = [Bool](repeating: false, count: byteCount)
    Self.note(certain, of: disk, in: &mustChange)
    mayChange = mustChange
    Self.note(possible, of: disk, in: &mayChange)
  }

  /// A sector of which a byte has changed counts as a whole.
  private static func note(
    _ records: ArraySlice<Record>, of disk: Int, in bytes: inout [Bool]
  ) {
    for record in records where record.disk == disk && record.length > 0 {
      let end = min(bytes.count, (record.end + 511) / 512 * 512)
      for byte in record.start / 512 * 512..<end { bytes[byte] = true }
    }
  }

  /// What is wrong with a reply's runs, the first of which begins at `start`; nil: nothing.
  func difference(from runs: [NBDClient.Run], at start: Int) -> String? {
    var offset = start
    for run in runs {
      guard run.length > 0, bytes.contains(offset + run.length) else {
        return "runs reach from \(offset) by \(run.length)"
      }
      for byte in offset..<offset + run.length {
        if mustChange[byte], !run.isSet { return "byte \(byte) is called unchanged" }
        if !mayChange[byte], run.isSet { return "byte \(byte) is called changed" }
      }
      offset += run.length
    }
    return nil
  }
}

extension ViewReading {
  /// Asks which bytes of a disk changed from one instant to another, or (nil) until now.
  func askChanges(
    since start: Timestamp, until end: Timestamp?, disk index: Int, rounds: Int
  ) throws(ClientError) {
    let name = oracle.disks[index].name
    let generation = line.generation
    let client = try NBDClient(
      world.plan.nbdAddress(host.index),
      export: end.map { "\(name)@\($0)" } ?? name, structured: true,
      context: "tapline:changed-since:\(start)")
    defer { client.close() }
    // What is not in the history any more cannot be selected.
    guard client.hasContext else { return }
    world.statistics.changeLists += 1
    world.trace.note("asks what changed on \(name) since \(start)")
    for round in 0..<rounds {
      if round > 0 { Thread.sleep(milliseconds: UInt64(world.simulation.random.below(1_500))) }
      try askChanges(client, since: start, until: end, index, generation)
    }
  }

  private func askChanges(
    _ client: NBDClient, since start: Timestamp, until end: Timestamp?, _ disk: Int,
    _ generation: Int
  ) throws(ClientError) {
    var offset = 0
    while offset < client.byteCount {
      let seen = end.map { line.count(through: $0) } ?? Int(oracle.protected.seenFloor)
      let request = ClientRequest(
        number: world.nextRequestNumber(), .blockStatus, [], disk: disk, offset: offset,
        length: client.byteCount - offset)
      try client.send(request)
      guard let reply = try client.receive(milliseconds: 25_000) else {
        throw .lost("no reply for long")
      }
      if reply.error != 0 {
        guard host.hadDiskErrors else {
          oracle.violation("\(role): changes since \(start): \(request): error \(reply.error)")
        }
        throw .lost("error \(reply.error)")
      }
      if mayHaveChanged || isUnsure {
        throw .lost("nobody knows what is right")
      }
      guard line.generation == generation else { throw .lost("the order has gone back") }
      let first = line.count(through: start)
      let certain = line.records[first..<max(first, seen)]
      let expected = ExpectedChanges(
        byteCount: client.byteCount, disk: disk, certain: certain,
        possible: end == nil ? line.records[first...] : [])
      if let difference = expected.difference(from: reply.runs, at: offset) {
        oracle.violation(
          "\(role): changes of disk \(disk) since \(start)\(end.map { " until \($0)" } ?? ""): "
            + difference)
      }
      offset += reply.runs.reduce(0) { $0 + $1.length }
      if reply.runs.isEmpty { throw .wrong("a status without a run") }
    }
  }
}
