/// The SplitMix64 generator, so that a seed names a test case. Source of the constants: Steele, Lea
/// and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}

/// Cuts `bytes` into pieces: some of one byte, some empty, some long.
func pieces(of bytes: [UInt8], using random: inout SplitMix64) -> [ArraySlice<UInt8>] {
  var result: [ArraySlice<UInt8>] = []
  var rest = bytes[...]
  while !rest.isEmpty {
    let limit = [1, 3, 20, 200, rest.count].randomElement(using: &random)!
    let piece = rest.prefix(Int.random(in: 0...limit, using: &random))
    rest = rest.dropFirst(piece.count)
    result.append(piece)
  }
  return result
}
