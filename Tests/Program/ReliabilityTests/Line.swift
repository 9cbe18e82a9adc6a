import Foundation
import TestSupport

/// One order of writes to the disks of a group, as clients saw it: the yardstick for what an owner
/// serves, a follower shows and a branch keeps. Another begins with each change of the owner that
/// leaves writes out.
struct Line {
  struct Write {
    let disk: Int
    let offset: Int
    let bytes: [UInt8]
    let submitted = wallClockNanoseconds()
  }

  static let disks = ["a", "b"]
  static let size = 512 << 10

  private(set) var writes: [Write] = []
  /// The last one, when it got no answer: it is there or not, as a whole and for good.
  var doubtful: Write?

  var count: Int { writes.count }

  /// One was answered, or was found to be there.
  mutating func append(_ write: Write) { writes.append(write) }

  /// How many writes are not later than the instant, which lies between two of them.
  func count(at instant: UInt64) -> Int {
    writes.firstIndex { $0.submitted > instant } ?? count
  }

  func beginning(_ count: Int) -> Line {
    var line = Line()
    line.writes = Array(writes[..<count])
    return line
  }

  /// How many writes the two begin with.
  func common(with other: Line) -> Int {
    zip(writes, other.writes).prefix { $0.submitted == $1.submitted }.count
  }

  func images(_ count: Int? = nil) -> [[UInt8]] {
    var images = Self.blank
    for write in writes[..<(count ?? self.count)] { Self.apply(write, to: &images) }
    return images
  }

  /// The longest beginning that shows this, one with the doubtful write included, which is settled
  /// by that; nil when none does.
  mutating func findBeginning(showing images: [[UInt8]], from floor: Int = 0) -> Int? {
    var shown = Self.blank
    var found: Int?
    if floor == 0, shown == images { found = 0 }
    for (index, write) in (writes + [doubtful].compactMap(\.self)).enumerated() {
      Self.apply(write, to: &shown)
      if index + 1 >= floor, Self.areEqual(shown, images) { found = index + 1 }
    }
    if let found, found > count { settle(isThere: true) }
    return found
  }

  /// By what its owner shows; false when that is not its end.
  mutating func settle(showing images: [[UInt8]]) -> Bool {
    guard findBeginning(showing: images, from: count) != nil else { return false }
    settle(isThere: false)
    return true
  }

  private mutating func settle(isThere: Bool) {
    if isThere, let doubtful { append(doubtful) }
    doubtful = nil
  }

  private static let blank = disks.map { _ in [UInt8](repeating: 0, count: size) }

  private static func apply(_ write: Write, to images: inout [[UInt8]]) {
    unsafe images[write.disk].withUnsafeMutableBytes { image in
      let range = write.offset..<write.offset + write.bytes.count
      unsafe UnsafeMutableRawBufferPointer(rebasing: image[range]).copyBytes(from: write.bytes)
    }
  }

  static func areEqual(_ some: [[UInt8]], _ others: [[UInt8]]) -> Bool {
    zip(some, others).allSatisfy { one, other in
      unsafe one.count == other.count && memcmp(one, other, one.count) == 0
    }
  }
}
