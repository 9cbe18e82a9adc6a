/// The order whose newest state an owner's clients see.
protocol LiveOrder: AnyObject {
  var liveLine: Line { get }
  /// The last record that some reply, or the bytes of some read, have shown to a client.
  var seenFloor: UInt64 { get }
  func seen(_ sequence: UInt64)
  func mayBeDamaged(_ disk: Int, _ offset: Int) -> Bool
  func violation(of reason: String) -> Never
}

/// What a READ of a live disk may show.
///
/// Every change that was acknowledged, or seen, before the READ was sent is in it. Of those that
/// were under way meanwhile each byte may show any: NBD promises no more.
struct ReadCheck {
  private let oracle: any LiveOrder
  private let disk: Int
  private let offset: Int
  private let count: Int
  private let floor: UInt64
  private let generation: Int

  /// When the READ is sent.
  init(_ oracle: any LiveOrder, _ request: ClientRequest) {
    self.oracle = oracle
    disk = request.disk
    offset = request.offset
    count = request.length
    floor = oracle.seenFloor
    generation = oracle.liveLine.generation
  }

  /// When the reply is there.
  func check(_ data: [UInt8], of request: ClientRequest) {
    let line = oracle.liveLine
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
    for index in open where !oracle.mayBeDamaged(disk, offset + index) {
      oracle.violation(
        of: "\(request) shows \(data[index]) at \(offset + index), where record \(floor) left "
          + "\(expected[index]): \(difference(of: data, from: expected, at: offset) ?? "")")
    }
    oracle.seen(seen)
  }
}

extension GroupOracle: LiveOrder {
  var liveLine: Line { protected.line }
  var seenFloor: UInt64 { protected.seenFloor }
  func seen(_ sequence: UInt64) { protected.seen(sequence) }
  func mayBeDamaged(_ disk: Int, _ offset: Int) -> Bool { mayBeDamaged(disk, offset, .protected) }
  func violation(of reason: String) -> Never { violation(reason) }
}

extension SiteOracle: LiveOrder {
  var liveLine: Line { line }
  func mayBeDamaged(_ disk: Int, _ offset: Int) -> Bool { false }
  func violation(of reason: String) -> Never { violation(reason) }
}
