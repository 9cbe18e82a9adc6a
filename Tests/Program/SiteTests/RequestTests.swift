import Foundation
import TestSupport
import Testing

/// Proves what each NBD request does, at the edges of size and alignment and with many in flight.
@Suite(.scratch) struct RequestTests {
  @Test func `requests of any alignment leave what a plain array of bytes holds`() throws {
    let single = try SingleSite(size: 1_000_003)
    let client = try single.site.connect("disk")
    var generator = SeededGenerator(seed: testSeed(2))
    var expected = PlainHistory(size: 1_000_003)
    try expected.drive(client, count: 300, maximumLength: 20_000, using: &generator)
    #expect(difference(try single.site.image("disk"), expected.image()) == nil)
    for _ in 0..<50 {
      let count = Int.random(in: 1...70_000, using: &generator)
      let offset = Int.random(in: 0...expected.size - count, using: &generator)
      let bytes = try client.read(at: UInt64(offset), count: count)
      #expect(bytes == Array(expected.image()[offset..<offset + count]))
    }
  }

  @Test(arguments: ["64M", "1M"])
  func `a request of 32 MiB is served whatever the size of segments`(segmentSize: String) throws {
    let single = try SingleSite(size: 33 << 20, segmentSize: segmentSize)
    let client = try single.site.connect("disk")
    var generator = SeededGenerator(seed: testSeed(3))
    let bytes = generator.bytes(32 << 20)
    try client.write(bytes, at: 513)
    #expect(try client.read(at: 513, count: 32 << 20) == bytes)
    #expect(try client.read(at: 512, count: 1) == [0])
  }

  enum Bad: String, CaseIterable, CustomTestStringConvertible {
    case readPastEnd, writePastEnd, zeroPastEnd, trimPastEnd, writeAcrossEnd, readFarAway
    var testDescription: String { rawValue }
  }

  @Test(arguments: Bad.allCases)
  func `a request outside the disk is refused and the connection lives on`(bad: Bad) throws {
    let single = try SingleSite()
    let client = try NBDClient(single.uri, checksRequests: false)
    let end = UInt64(client.size)
    let failure = #expect(throws: NBDClient.Failure.self) {
      switch bad {
      case .readPastEnd: _ = try client.read(at: end, count: 1)
      case .writePastEnd: try client.write([1], at: end)
      case .zeroPastEnd: try client.zero(at: end, count: 512)
      case .trimPastEnd: try client.trim(at: end, count: 512)
      case .writeAcrossEnd: try client.write([1, 2], at: end - 1)
      case .readFarAway: _ = try client.read(at: UInt64(Int64.max) - 1, count: 4)
      }
    }
    let errors = bad == .readPastEnd || bad == .readFarAway ? [EINVAL] : [ENOSPC, EINVAL]
    #expect(errors.contains(failure?.errno ?? 0), "\(String(describing: failure))")
    try client.write([7], at: end - 1)
    #expect(try client.read(at: end - 1, count: 1) == [7])
  }

  @Test func `many writes in flight from several connections all arrive`() throws {
    let quarter = 4 << 20
    let single = try SingleSite(size: 4 * quarter)
    let loads = (0..<4).map { number in
      let history = WriteHistory(sectors: quarter / TaggedSectors.size)
      var shape = WriteLoad.Shape()
      shape.seed = testSeed(4) + UInt64(number)
      shape.offset = number * quarter
      return (WriteLoad(single.uri, history: history, shape: shape), history)
    }
    for (load, _) in loads { try load.makeProgress(300) }
    for (load, _) in loads { try load.stop() }
    let image = try single.site.image("disk")
    for (number, (load, history)) in loads.enumerated() {
      #expect(load.failure == nil)
      let part = Array(image[number * quarter..<(number + 1) * quarter])
      #expect(history.violations(in: part) == [])
    }
  }

  @Test func `a write acknowledged on one connection is read on every other`() throws {
    let single = try SingleSite()
    let clients = try (0..<4).map { _ in try single.site.connect("disk") }
    var generator = SeededGenerator(seed: testSeed(5))
    for round in 0..<200 {
      let bytes = generator.bytes(Int.random(in: 1...5000, using: &generator))
      let offset = UInt64.random(in: 0..<1 << 20, using: &generator)
      try clients[round % 4].write(bytes, at: offset)
      for other in 1..<4 {
        let read = try clients[(round + other) % 4].read(at: offset, count: bytes.count)
        #expect(read == bytes)
      }
    }
  }

  @Test func `a disk of a load with flushes and FUA holds every acknowledged write`() throws {
    let single = try SingleSite()
    let history = WriteHistory(sectors: 16384)
    var shape = WriteLoad.Shape()
    shape.depth = 64
    shape.flushEvery = 10
    shape.seed = testSeed(6)
    let load = WriteLoad(single.uri, history: history, shape: shape)
    try load.makeProgress(2000)
    try load.stop()
    #expect(load.failure == nil)
    #expect(history.violations(in: try single.site.image("disk")) == [])
  }
}
