import Foundation

/// SplitMix64 (Steele, Lea, Flood 2014): one seed, one sequence.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
  }

  public mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  public mutating func chance(_ percent: UInt64) -> Bool { next() % 100 < percent }

  /// `count` bytes that do not compress.
  public mutating func bytes(_ count: Int) -> [UInt8] {
    var words = [UInt64](repeating: 0, count: (count + 7) / 8)
    for index in words.indices { words[index] = next() }
    return unsafe words.withUnsafeBytes { unsafe [UInt8]($0.prefix(count)) }
  }
}

/// The seed of a test: `TAPLINE_SEED` when set, so that a failure can be repeated, else `standard`.
public func testSeed(_ standard: UInt64) -> UInt64 {
  ProcessInfo.processInfo.environment["TAPLINE_SEED"].flatMap(UInt64.init) ?? standard
}

/// How many rounds a test with kills makes: `TAPLINE_ROUNDS` when set, else `standard`.
public func testRounds(_ standard: Int) -> Int {
  ProcessInfo.processInfo.environment["TAPLINE_ROUNDS"].flatMap(Int.init) ?? standard
}
