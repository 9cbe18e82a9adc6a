/// The front of an input: choices that are no part of what a wire or a disk would bring. Behind its
/// end every byte is 0.
struct FuzzInput {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isEmpty: Bool { rest.isEmpty }

  mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

  mutating func integer<Value: FixedWidthInteger>(_: Value.Type = Value.self) -> Value {
    var value: Value = 0
    for _ in 0..<Value.bitWidth / 8 { value = value << 8 | Value(truncatingIfNeeded: byte()) }
    return value
  }

  mutating func below(_ bound: Int) -> Int { Int(byte()) % bound }

  mutating func bytes(_ count: Int) -> [UInt8] {
    defer { rest = rest.dropFirst(count) }
    return Array(rest.prefix(count))
  }

  /// Everything that was not taken yet.
  mutating func remainder() -> [UInt8] { bytes(rest.count) }
}

/// Splitmix64, after Sebastiano Vigna (https://prng.di.unimi.it/splitmix64.c): choices that need
/// not be in the input one by one.
struct Choices: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}

/// How a stream arrives: all at once, or in pieces.
enum Delivery {
  case whole
  case pieces(Choices)

  /// The length of the next piece when `remaining` bytes have not arrived yet; at least 1.
  mutating func nextPiece(_ remaining: Int) -> Int {
    switch self {
    case .whole: return remaining
    case .pieces(var choices):
      let longest = [1, 3, 17, 40, 300, remaining][choices.below(6)]
      let count = 1 + choices.below(max(1, min(longest, remaining)))
      self = .pieces(choices)
      return min(count, remaining)
    }
  }
}

/// Calls `body` with a copy of `bytes` that has neither room in front nor behind, so that a
/// sanitizer sees every read outside of it.
func withExactCopy<Result>(
  of bytes: ArraySlice<UInt8>, _ body: (UnsafeRawBufferPointer) -> Result
) -> Result {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { unsafe copy.deallocate() }
  unsafe copy.copyBytes(from: bytes)
  return unsafe body(UnsafeRawBufferPointer(copy))
}

/// What `body` writes into memory of exactly `byteCount` bytes, of which it returns how many count.
func written(
  byteCount: Int, _ body: (UnsafeMutableRawPointer) -> Int
) throws(FuzzViolation) -> [UInt8] {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, byteCount), alignment: 1)
  defer { unsafe memory.deallocate() }
  guard let base = memory.baseAddress else { return [] }
  unsafe memory.initializeMemory(as: UInt8.self, repeating: 0xee)
  let count = unsafe body(base)
  try require(count <= byteCount, "\(count) bytes were written where \(byteCount) have room")
  return unsafe Array(memory.prefix(count))
}
