/// A small generator with a fixed sequence for each seed (SplitMix64: Steele, Lea, Flood, 2014), so
/// that a failing random test fails again.
public struct SplitMix: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  public mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  public mutating func chance(_ percent: UInt64) -> Bool { next() % 100 < percent }

  public mutating func bytes(_ count: Int) -> [UInt8] {
    var words = [UInt64](repeating: 0, count: (count + 7) / 8)
    for index in words.indices { words[index] = next() }
    return unsafe words.withUnsafeBytes { unsafe [UInt8]($0.prefix(count)) }
  }
}
