/// The keys of a file with lines `NAME:KEY`, the key in hexadecimal: what `psktool` writes and what
/// qemu and nbdkit read.
public struct PreSharedKeys: Sendable {
  private let keys: [String: [UInt8]]

  public static var keyByteLimit: Int { 256 }
  public static var nameByteLimit: Int { 128 }

  /// - Parameter file: for messages.
  public init(parsing text: String, file: String) throws(TLSError) {
    var keys: [String: [UInt8]] = [:]
    let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    for (index, line) in lines.enumerated() {
      if line.isEmpty || line.hasPrefix("#") { continue }
      let place = "\(file):\(index + 1)"
      guard let colon = line.lastIndex(of: ":") else {
        throw TLSError("\(place): a line is NAME:KEY, with the key in hexadecimal")
      }
      let name = String(line[..<colon])
      guard !name.isEmpty, name.utf8.count <= Self.nameByteLimit else {
        throw TLSError("\(place): a name has 1 to \(Self.nameByteLimit) bytes")
      }
      guard let key = Self.bytes(hexadecimal: line[line.index(after: colon)...]),
        key.count >= 16, key.count <= Self.keyByteLimit
      else {
        throw TLSError("\(place): a key has 16 to \(Self.keyByteLimit) bytes, in hexadecimal")
      }
      guard keys.updateValue(key, forKey: name) == nil else {
        throw TLSError("\(place): a second key for the same name")
      }
    }
    guard !keys.isEmpty else { throw TLSError("\(file): there is no key in it") }
    self.keys = keys
  }

  public func key(of name: String) -> [UInt8]? { keys[name] }

  private static func bytes(hexadecimal text: Substring) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let high = value(of: digits[index]), let low = value(of: digits[index + 1]) else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    return bytes
  }

  private static func value(of digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
