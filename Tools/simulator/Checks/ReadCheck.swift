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
    // The bytes that no record explains yet; each is of the first one that may have written it.
    var open = data.indices.filter { data[$0] != expected[$0] }
    var seen = floor
    for record in line.records[Int(floor)...] where record.overlaps(disk, offset, count) {
      if open.isEmpty { break }
      let before = open.count
      open.removeAll { record.byte(at: offset + $0) == data[$0] }
      if open.count < before { seen = record.sequence }
    }
    for index in open where !oracle.mayBeDamaged(disk, offset + index, .protected) {
      oracle.violation(
        "\(request) shows \(data[index]) at \(offset + index), where record \(floor) left "
          + "\(expected[index]): \(difference(of: data, from: expected, at: offset) ?? "")")
    }
    oracle.protected.seen(seen)
  }
}
