/// Appends big-endian integers and strings: the byte order of NBD, and of all of Tapline's
/// formats.
public struct WireEncoder: Sendable {
  public private(set) var bytes: [UInt8] = []

  public init() {}

  public mutating func put<Value: FixedWidthInteger & UnsignedInteger>(_ value: Value) {
    put(word: UInt64(truncatingIfNeeded: value), byteCount: Value.bitWidth / 8)
  }

  // Not generic: where it is not specialised, each step would go through witness tables.
  private mutating func put(word: UInt64, byteCount: Int) {
    unsafe withUnsafeBytes(of: word.bigEndian) { unsafe bytes += $0.suffix(byteCount) }
  }

  /// UTF-8 with a 16-bit byte count in front. Longer text is our own mistake and traps.
  public mutating func put(_ text: String) {
    let utf8 = Array(text.utf8)
    put(UInt16(utf8.count))
    bytes += utf8
  }

  /// Bytes as they are; the reader must know how many.
  public mutating func put(_ bytes: [UInt8]) { self.bytes += bytes }

  /// Fills with zeros up to `byteCount`.
  public mutating func pad(to byteCount: Int) {
    precondition(bytes.count <= byteCount, "encoding exceeds its fixed size")
    bytes += [UInt8](repeating: 0, count: byteCount - bytes.count)
  }
}

/// Reads what `WireEncoder` wrote, from bytes that may be anything: throws instead of trapping and
/// never allocates in proportion to an unchecked length.
public struct WireDecoder: Sendable {
  public enum Failure: Error, Equatable, Sendable { case tooShort, notUTF8 }

  private let bytes: ArraySlice<UInt8>
  private var position: Int

  public init(_ bytes: [UInt8]) {
    self.bytes = bytes[...]
    position = 0
  }

  public var remaining: Int { bytes.endIndex - position }

  public mutating func take<Value: FixedWidthInteger & UnsignedInteger>(
    _ type: Value.Type = Value.self
  ) throws(Failure) -> Value {
    Value(truncatingIfNeeded: try takeWord(byteCount: Value.bitWidth / 8))
  }

  private mutating func takeWord(byteCount: Int) throws(Failure) -> UInt64 {
    guard remaining >= byteCount else { throw .tooShort }
    var word: UInt64 = 0
    for byte in bytes[position..<position + byteCount] { word = word << 8 | UInt64(byte) }
    position += byteCount
    return word
  }

  public mutating func takeBytes(_ count: Int) throws(Failure) -> [UInt8] {
    guard count >= 0, remaining >= count else { throw .tooShort }
    defer { position += count }
    return Array(bytes[position..<position + count])
  }

  public mutating func takeString() throws(Failure) -> String {
    let count = Int(try take(UInt16.self))
    guard remaining >= count else { throw .tooShort }
    let utf8 = bytes[position..<position + count]
    position += count
    guard let text = String(validating: utf8, as: UTF8.self) else { throw .notUTF8 }
    return text
  }
}
