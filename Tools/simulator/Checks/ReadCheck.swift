/// What a READ of a live disk may show.
///
/// Every change that was acknowledged, or seen, before the READ was sent is in it. Of those that
/// were under way meanwhile each byte may show any: NBD promises no more.
struct ReadCheck {
  private let oracle: GroupOracle
  private let disk: Int
  private let offset: Int
  private let count: Int
  private let floor: UInt64
  private let generation: Int

  /// When the READ is sent.
  init(_ oracle: GroupOracle, _ request: ClientRequest) {
    self.oracle = oracle
    disk = request.disk
    offset = request.offset
    count = request.length
    floor = oracle.protected.seenFloor
    generation = oracle.protected.line.generation
  }

  /// When the reply is there.
  func check(_ data: [UInt8], of request: ClientRequest) {
    let line = oracle.protected.line
    // What it has seen may have been lost since.
    guard line.generation == generation else { return }
    let expected = line.disks(after: Int(floor))[disk].bytes(at: offset, count: count)
    if data == expected { return }
    let later = line.records[Int(floor)...].filter {
      $0.disk == disk && $0.start < offset + count && $0.end > offset
        && $0.header.kind != .checkpoint
    }
    var seen = floor
    for index in data.indices where data[index] != expected[index] {
      let writer = later.first { $0.byte(at: offset + index) == data[index] }
      guard let writer else {
        if oracle.mayBeDamaged(disk, offset + index, .protected) { continue }
        oracle.violation(
          "\(request) shows \(data[index]) at \(offset + index), where record \(floor) left "
            + "\(expected[index]): \(difference(of: data, from: expected, at: offset) ?? "")")
      }
      seen = max(seen, writer.sequence)
    }
    oracle.protected.seen(seen)
  }
}
