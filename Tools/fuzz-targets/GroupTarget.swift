import Synchronization

/// Whole connections and a whole group: clients, several at a time, send requests in pieces of any
/// length to a real site, and end in every way, also in the middle of a request or behind something
/// that is none. Requests that were whole are executed, nothing else is, and nobody else notices.
///
/// An input: a script of steps, each a byte and what it needs.
enum GroupTarget {
  /// One for each client of an input, of which none writes outside of its own.
  static let regionBytes = 16 << 10
  static let clientLimit = 15
  private static let slotCount = 3
  private static let stepLimit = 96

  /// There is one site.
  private static let isRunning = Mutex(())

  static func run(_ bytes: [UInt8]) throws(FuzzViolation) {
    try isRunning.withLock { (_) throws(FuzzViolation) in try play(bytes) }
  }

  private static func play(_ bytes: [UInt8]) throws(FuzzViolation) {
    var input = FuzzInput(bytes)
    let site = try FuzzedSite.shared()
    // Nil: a client has left without waiting, so nobody knows what came of its last requests.
    var model = [UInt8?](repeating: 0, count: regionBytes * clientLimit)
    try site.clear()
    var slots: [ScriptedClient?] = Array(repeating: nil, count: slotCount)
    var clientCount = 0
    var steps = 0
    while !input.isEmpty, steps < stepLimit {
      steps += 1
      let slot = input.below(slotCount)
      if slots[slot] == nil {
        if clientCount == clientLimit { break }
        slots[slot] = try ScriptedClient(site, region: clientCount * regionBytes)
        clientCount += 1
      }
      if try slots[slot]?.step(&input, &model) == false { slots[slot] = nil }
    }
    for case let client? in slots { try client.end(4, leavesAtOnce: false, &model) }
    try site.check(model)
  }
}

/// A client that does what an input says. All of its requests are within its region.
final class ScriptedClient {
  private static let endings = 5

  private let link: FuzzedLink
  private let region: Int
  private var unsent: [UInt8] = []
  private var requestCount: UInt64 = 0
  private var replyBytes = 0

  init(_ site: FuzzedSite, region: Int) throws(FuzzViolation) {
    link = try site.connect()
    self.region = region
  }

  /// Does the next step; false when the client has ended.
  func step(
    _ input: inout FuzzInput, _ model: inout [UInt8?]
  ) throws(FuzzViolation) -> Bool {
    let choice = input.below(12)
    switch choice {
    case 0...4: write(&input, &model)
    case 5: zero(4, &input, &model)
    case 6: zero(6, &input, &model)
    case 7: put(0, offset: 0, length: 1 + Int(input.byte()) * 16)
    case 8: put(3, offset: 0, length: 0)
    case 9, 10:
      let count = choice == 9 ? unsent.count : min(unsent.count, 1 + Int(input.byte()))
      try send(unsent.prefix(count))
      unsent.removeFirst(count)
    default:
      try end(input.below(Self.endings), leavesAtOnce: input.byte() & 1 == 1, &model)
      return false
    }
    return true
  }

  private func put(_ command: UInt16, flags: UInt16 = 0, offset: Int, length: Int) {
    requestCount += 1
    replyBytes += 16 + (command == 0 ? length : 0)
    unsent += FuzzedLink.request(
      command, flags: flags, cookie: requestCount, offset: UInt64(region + offset),
      length: UInt32(length))
  }

  private func range(_ input: inout FuzzInput) -> (offset: Int, length: Int) {
    let offset = Int(input.integer(UInt16.self)) % GroupTarget.regionBytes
    let wanted = 1 + Int(input.byte()) * Int(input.byte())
    return (offset, min(wanted, GroupTarget.regionBytes - offset))
  }

  private func write(_ input: inout FuzzInput, _ model: inout [UInt8?]) {
    let (offset, length) = range(&input)
    let fill = input.byte()
    put(1, flags: UInt16(fill & 1), offset: offset, length: length)
    unsent += [UInt8](repeating: fill, count: length)
    for index in region + offset..<region + offset + length { model[index] = fill }
  }

  private func zero(_ command: UInt16, _ input: inout FuzzInput, _ model: inout [UInt8?]) {
    let (offset, length) = range(&input)
    // FUA, and for WRITE_ZEROES also NO_HOLE: a TRIM with that is refused, and changes nothing.
    let allowed: UInt8 = command == 6 ? 3 : 1
    put(command, flags: UInt16(input.byte() & allowed), offset: offset, length: length)
    for index in region + offset..<region + offset + length { model[index] = 0 }
  }

  /// What is whole goes before the ending, and is executed.
  func end(
    _ ending: Int, leavesAtOnce: Bool, _ model: inout [UInt8?]
  ) throws(FuzzViolation) {
    let write = FuzzedLink.request(
      1, flags: 0, cookie: 0, offset: UInt64(region), length: 512)
    switch ending {
    case 0: unsent += [UInt8](repeating: 0xA5, count: 40)
    case 1:
      unsent += FuzzedLink.request(
        1, flags: 0, cookie: 0, offset: UInt64(region), length: 65 << 20)
    case 2: unsent += write.prefix(13)
    case 3: unsent += write + [UInt8](repeating: 0xEE, count: 300)
    default: break
    }
    try send(unsent[...])
    if leavesAtOnce {
      for index in region..<region + GroupTarget.regionBytes { model[index] = nil }
    } else if ending < 2 {
      try require(link.isCutOff(), "a client that breaks the protocol is not cut off")
    } else {
      _ = try link.receive(replyBytes)
    }
    link.close()
  }

  private func send(_ bytes: ArraySlice<UInt8>) throws(FuzzViolation) {
    try require(link.send(Array(bytes)), "a client that keeps to the protocol is cut off")
  }
}
