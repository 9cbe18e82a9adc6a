import Foundation
import TestSupport
import Testing

/// Proves that sites rest when nobody writes.
@Suite(.scratch) struct IdleGroupTests {
  /// Not even periodic checkpoints are written, each of which would be the reason for the next.
  @Test func `nothing is written for a group that nobody writes to`() throws {
    let pair = try SitePair(disks: ["disk": 1 << 20]) { east, _ in
      east.configuration.groups[0].checkpointEvery = "500ms"
    }
    try pair.east.connect("disk").write([1], at: 0)
    try pair.drain()
    func figures() throws -> [Int] {
      try [pair.east, pair.west].map { try $0.writtenBytes() }
        + [try pair.east.counter("stamped")]
    }
    // What the write has caused ends by itself: its checkpoint, and what both state files say.
    try eventually("both sites rest") {
      let before = try figures()
      Thread.sleep(forTimeInterval: 5)
      return try figures() == before
    }
    #expect(try pair.east.counter("stamped") == 2, "the write and its checkpoint")
  }
}
