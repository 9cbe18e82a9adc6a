import Foundation
import Synchronization
import TestSupport
import Testing

/// Proves that a record which is damaged in the journal after it was applied, and only waits for
/// the peer, does not stop replication: the disk has what it wrote. Where the disk can make it
/// again, the peer keeps its history; else it goes on behind it. Both end, and say what happened.
@Suite(.scratch) struct DamagedRecordTests {
  enum Damage: CaseIterable, Sendable {
    case payload, twoPayloads, writtenOver, header, headerOfTheNewest
    var isRestored: Bool { self == .payload || self == .twoPayloads }
  }

  private static let writes = 60
  private static let length = 16 << 10

  /// All of `index` (from 0) are the same, and of no other.
  private func payload(_ index: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(index + 1), count: Self.length)
  }

  /// Changes a byte of the journal of `site`, so many behind the begin of the record of a write.
  private func damage(_ site: Site, _ index: Int, at distance: Int) throws {
    let folder = URL(filePath: "\(site.configuration.data)/g")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    for name in names where name.hasPrefix("segment-") && !name.hasSuffix(".index") {
      let file = folder.appending(path: name)
      guard let place = try Data(contentsOf: file).range(of: Data(payload(index)))?.lowerBound
      else { continue }
      let handle = try FileHandle(forUpdating: file)
      defer { try? handle.close() }
      try handle.seek(toOffset: UInt64(place - 28 + distance))
      try handle.write(contentsOf: Data([0xa5]))
      return
    }
    throw RigError("write \(index) is in no segment")
  }

  /// No checkpoint comes by itself.
  private static func pair(segmentSize: String) throws -> SitePair {
    try SitePair { east, west in
      for site in [east, west] {
        site.configuration.groups[0].segmentSize = segmentSize
        site.configuration.groups[0].checkpointEvery = "0s"
      }
    }
  }

  private func harm(_ kind: Damage, _ east: Site) throws {
    switch kind {
    case .payload, .writtenOver: try damage(east, 20, at: 28 + 5000)
    case .twoPayloads:
      try damage(east, 20, at: 28)
      try damage(east, 23, at: 28 + Self.length - 1)
    // The sixth byte of its offset on the disk.
    case .header: try damage(east, 20, at: 16 + 5)
    case .headerOfTheNewest: try damage(east, Self.writes - 1, at: 16 + 5)
    }
  }

  @Test(arguments: Damage.allCases)
  func `what is damaged and applied reaches the peer from the disk`(kind: Damage) throws {
    let pair = try Self.pair(segmentSize: "256K")
    let (east, west) = (pair.east, pair.west)
    let client = try east.connect("disk")
    try client.write([7], at: 4 << 20, fua: true)
    try pair.drain()
    try east.checkpoint("before").checked()
    try pair.drain()
    try west.stop()
    for index in 0..<Self.writes {
      try client.write(payload(index), at: UInt64(index * Self.length))
    }
    if kind == .writtenOver { try client.write([9], at: UInt64(20 * Self.length + 3)) }
    try client.flush()
    try eventually("all is applied") {
      try east.counter("applied") >= east.counter("appended")
    }
    try harm(kind, east)
    try west.start()
    try pair.drain()
    // It goes on.
    try client.write([8], at: 5 << 20, fua: true)
    try pair.drain()
    #expect(difference(try west.image("disk@latest"), try east.image("disk")) == nil)
    let restored = try east.counter("restored_records")
    #expect(restored == (kind == .payload ? 1 : kind == .twoPayloads ? 2 : 0))
    #expect(east.log.contains("of the journal is damaged"))
    let isOpen = (try? west.connect("disk@checkpoint:before").read(at: 4 << 20, count: 1)) == [7]
    #expect(isOpen == kind.isRestored)
    #expect(!west.log.contains("a full copy from east begins"), "in the log since the last start")
    #expect(west.log.contains("goes on behind record") == !kind.isRestored)
    #expect(try east.counter("reconnects") < 10)
  }

  /// What is damaged is on no disk, and nothing behind it can be sent or applied. The way out is
  /// that of docs/recover.md, and health names it.
  @Test func `what is damaged before it is applied ends with the group begun anew`() throws {
    let pair = try Self.pair(segmentSize: "256K")
    let (east, west) = (pair.east, pair.west)
    try east.stop()
    east.configuration.groups[0].history = "1h"
    east.configuration.groups[0].journalCapacity = "4M"
    try east.start()
    try pair.drain()
    try west.stop()
    let client = try east.connect("disk")
    for index in 0..<20 { try client.write(payload(index), at: UInt64(index * Self.length)) }
    try client.flush()
    try damage(east, 10, at: 16 + 5)
    // More than the journal has room for.
    var later: Set<NBDClient.Request> = []
    for index in 0..<500 {
      let place = UInt64((64 + index % 380) * Self.length)
      later.insert(try client.submitWrite(payload(30), at: place))
    }
    var answered = 0
    try eventually("health says what to do") {
      // Sends as much as the site takes.
      let done = try client.completions(of: later, within: .milliseconds(50))
      for (request, _) in done { later.remove(request) }
      answered += done.count
      let conditions = try TaplineContract.group("g", in: east.status())["conditions"]
      let found = conditions?.elements.first { $0["code"]?.string == "journal-damaged" }
      return found?["remedy"]?.string?.contains("docs/recover.md") == true
        && found?["text"]?.string?.contains("does not verify") == true
    }
    #expect(answered > 0 && answered < 500)
    // As the guest reads it.
    let image = try east.image("disk")
    for index in 0..<20 {
      #expect(Array(image[index * Self.length..<(index + 1) * Self.length]) == payload(index))
    }
    try east.stop()
    let fileManager = FileManager.default
    for site in [east, west] {
      try fileManager.moveItem(
        atPath: "\(site.configuration.data)/g", toPath: "\(site.configuration.data)-evidence")
    }
    try Data(image).write(to: URL(filePath: east.rawFile("disk")))
    try east.start()
    try west.start()
    try pair.drain()
    try east.connect("disk").write([8], at: 7 << 20, fua: true)
    try pair.drain()
    #expect(difference(try west.image("disk@latest"), try east.image("disk")) == nil)
    #expect(try Array(east.image("disk")[..<(7 << 20)]) == Array(image[..<(7 << 20)]))
  }

  /// The guest's next records come in the segment that cannot be sent, until that is ended.
  @Test func `a full copy ends though the guest writes on into the damaged segment`() throws {
    let pair = try Self.pair(segmentSize: "1M")
    let (east, west) = (pair.east, pair.west)
    let client = try east.connect("disk")
    try west.stop()
    for index in 0..<Self.writes / 4 {
      try client.write(payload(index), at: UInt64(index * Self.length))
    }
    try client.flush()
    try eventually("all is applied") {
      try east.counter("applied") >= east.counter("appended")
    }
    try damage(east, Self.writes / 4 - 1, at: 16 + 5)
    let guest = try SteadyGuest(east, at: 5 << 20)
    try west.start()
    try eventually("the copy has ended", within: .seconds(120)) {
      try TaplineContract.group("g", in: east.status())["link"]?["state"]?.string == "connected"
    }
    try guest.stop()
    try pair.drain()
    #expect(difference(try west.image("disk@latest"), try east.image("disk")) == nil)
    // None of them because of the damage.
    #expect(try east.counter("reconnects") < 5, "\(east.log)")
  }
}

/// Writes a little, again and again.
private final class SteadyGuest: @unchecked Sendable {
  private let client: NBDClient
  private let isOver = Atomic<Bool>(false)
  private let end = DispatchSemaphore(value: 0)
  private var failure: (any Error)?

  init(_ site: Site, at offset: UInt64) throws {
    client = try site.connect("disk")
    Thread.detachNewThread { [self] in
      do {
        var number: UInt8 = 0
        while !isOver.load(ordering: .acquiring) {
          number &+= 1
          try client.write([number], at: offset)
          Thread.sleep(forTimeInterval: 0.005)
        }
        try client.flush()
      } catch { failure = error }
      end.signal()
    }
  }

  func stop() throws {
    isOver.store(true, ordering: .releasing)
    end.wait()
    if let failure { throw failure }
  }
}
