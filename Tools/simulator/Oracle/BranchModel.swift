/// What a branch must hold: its group's disks as they were, and what was written to it since, in
/// one order for all disks.
///
/// Writes come in bursts: those of one are under way at the same time and touch each other nowhere,
/// and one follows the other's last reply. So a crash may keep all bursts up to one, some of that
/// one's writes, and nothing of those behind it.
final class BranchModel {
  struct Write {
    let disk: Int
    let offset: Int
    let bytes: [UInt8]

    var range: Range<Int> { offset..<offset + bytes.count }

    func touches(_ other: Write) -> Bool {
      disk == other.disk && range.overlaps(other.range)
    }
  }

  let name: String
  let disks: [Int]
  /// With all that is certain to outlive a crash.
  private var settled: [Int: DiskImage]
  /// With every burst.
  private(set) var images: [Int: DiskImage]
  /// What may be lost by a crash, oldest first.
  private var bursts: [[Write]] = []
  /// The last burst was not answered.
  private(set) var isUnanswered = false
  /// Requests of broken connections to a site that went on: they may come to be done at any time.
  private var loose: [Write] = []
  private(set) var sentBytes = 0

  init(_ name: String, _ base: [Int: DiskImage]) {
    self.name = name
    disks = base.keys.sorted()
    settled = base
    images = base
  }

  /// Whether something that nobody knows the end of is in the way.
  func isLoose(_ write: Write) -> Bool { loose.contains { $0.touches(write) } }

  // MARK: Writing

  func send(_ burst: [Write]) {
    precondition(!isUnanswered)
    bursts.append(burst)
    isUnanswered = true
    sentBytes += burst.reduce(0) { $0 + $1.bytes.count }
  }

  /// All of it was answered.
  func answered() {
    isUnanswered = false
    for write in bursts.last ?? [] { images[write.disk]?.write(write.bytes, at: write.offset) }
  }

  /// All that was answered is durable.
  func flushed() {
    precondition(!isUnanswered)
    settled = images
    bursts = []
  }

  /// The connection of the last burst is gone, and what serves the branch goes on.
  func lostConnection() {
    guard isUnanswered else { return }
    loose += bursts.removeLast()
    isUnanswered = false
  }

  // MARK: Comparing

  /// What is wrong with bytes that were read; nil: nothing.
  func difference(of found: [UInt8], disk: Int, at offset: Int) -> String? {
    let expected = images[disk]?.bytes(at: offset, count: found.count) ?? []
    return simulator.difference(of: found, from: masked(expected, found, disk, offset), at: offset)
  }

  /// What is loose may be anything.
  private func masked(
    _ expected: [UInt8], _ found: [UInt8], _ disk: Int, _ offset: Int
  ) -> [UInt8] {
    guard expected.count == found.count else { return expected }
    var masked = expected
    for write in loose where write.disk == disk {
      for byte in write.range.clamped(to: offset..<offset + found.count) {
        masked[byte - offset] = found[byte - offset]
      }
    }
    return masked
  }

  /// What served the branch has ended, and something else serves it now.
  ///
  /// - Parameters:
  ///   - found: all disks.
  ///   - mayLack: what was not flushed.
  /// - Returns: what is wrong; nil: nothing.
  func restarted(_ found: [Int: [UInt8]], mayLack: Bool) -> String? {
    let certain = isUnanswered ? bursts.count - 1 : bursts.count
    var state = settled
    var problem: String?
    for count in 0...bursts.count {
      if count >= certain || mayLack {
        problem = fit(found, count, state)
        if problem == nil { return nil }
      }
      guard count < bursts.count else { break }
      for write in bursts[count] { state[write.disk]?.write(write.bytes, at: write.offset) }
    }
    let all = bursts.flatMap { $0 }.map { "\($0.disk): \($0.offset)+\($0.bytes.count)" }
    return "\(problem ?? ""), with everything; unsettled writes to \(all)"
  }

  /// Whether it is what `count` bursts, and a part of the next, have made; then that is so from now
  /// on.
  private func fit(
    _ found: [Int: [UInt8]], _ count: Int, _ state: [Int: DiskImage]
  ) -> String? {
    var state = state
    var kept: [Write] = []
    for write in count < bursts.count ? bursts[count] : [] {
      let there = Array(found[write.disk]?[write.range] ?? [])
      let part = zip(there, write.bytes).prefix { $0 == $1 }.count
      guard part > 0 else { continue }
      let piece = Write(
        disk: write.disk, offset: write.offset, bytes: Array(write.bytes[..<part]))
      state[write.disk]?.write(piece.bytes, at: piece.offset)
      kept.append(piece)
    }
    for disk in disks {
      let expected = state[disk]?.bytes ?? []
      let there = found[disk] ?? []
      let problem = simulator.difference(
        of: there, from: masked(expected, there, disk, 0))
      if let problem { return "disk \(disk): \(problem)" }
    }
    bursts = Array(bursts[..<count]) + (kept.isEmpty ? [] : [kept])
    isUnanswered = false
    images = state
    // What was loose was either done or never will be.
    for write in loose {
      let bytes = Array(found[write.disk]?[write.range] ?? [])
      bursts.append([Write(disk: write.disk, offset: write.offset, bytes: bytes)])
      images[write.disk]?.write(bytes, at: write.offset)
    }
    loose = []
    return nil
  }
}
