/// Reads big-endian integers, on purpose not with the code under test.
struct WireReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: some Sequence<UInt8>) { rest = Array(bytes)[...] }

  var remaining: Int { rest.count }

  mutating func integer(_ byteCount: Int) throws(FuzzViolation) -> UInt64 {
    try bytes(byteCount).reduce(0) { $0 << 8 | UInt64($1) }
  }

  mutating func bytes(_ count: Int) throws(FuzzViolation) -> ArraySlice<UInt8> {
    try require(count <= rest.count, "a message ends \(count - rest.count) bytes too early")
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }
}
