// Big-endian coding for the messages of the handshake. The requests and replies of the transmission
// phase, which are hot, load and store their fields themselves.

extension [UInt8] {
  mutating func appendBigEndian<Integer: FixedWidthInteger>(_ value: Integer) {
    for shift in stride(from: Integer.bitWidth - 8, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  /// Appends what the protocol calls a string: no terminator, no NUL, at most 4096 bytes, cut
  /// between two code points.
  mutating func appendString(_ string: String) {
    append(contentsOf: Self(wireString: string))
  }

  init(wireString string: String) {
    var bytes = [UInt8]()
    for scalar in string.unicodeScalars where scalar.value != 0 {
      let encoded = UTF8.encode(scalar)!
      guard bytes.count + encoded.count <= NBDLimits.maximumStringBytes else { break }
      bytes.append(contentsOf: encoded)
    }
    self = bytes
  }
}

/// Reads integers and strings from the front of a message; nil when the message is too short.
struct BigEndianReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var remainingCount: Int { rest.count }

  mutating func read<Integer: FixedWidthInteger>(_: Integer.Type) -> Integer? {
    guard let bytes = read(count: Integer.bitWidth / 8) else { return nil }
    return bytes.reduce(0) { $0 << 8 | Integer(truncatingIfNeeded: $1) }
  }

  mutating func read(count: Int) -> ArraySlice<UInt8>? {
    guard count <= rest.count else { return nil }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }
}
