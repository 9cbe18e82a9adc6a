import TestSupport

/// Cuts `bytes` into pieces: some of one byte, some empty, some long.
func pieces(of bytes: [UInt8], using random: inout SeededGenerator) -> [ArraySlice<UInt8>] {
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
