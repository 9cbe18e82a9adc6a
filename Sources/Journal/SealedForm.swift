import BlockModel
import SystemIO

/// The form of a small file, or of the head of a larger one: a magic number (64 bits), a version
/// (32), CRC-32C in standard form of the body (32), and the body. Big-endian.
public struct SealedForm: Sendable {
  public enum Unreadable: Error, Equatable, Sendable { case damaged, otherVersion(UInt32) }

  public let magic: UInt64
  public let version: UInt32

  public init(magic: UInt64, version: UInt32) {
    self.magic = magic
    self.version = version
  }

  public func seal(_ body: [UInt8]) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(magic)
    encoder.put(version)
    encoder.put(Self.checksum(body))
    encoder.put(body)
    return encoder.bytes
  }

  /// The body. What another version means by its checksum is not known.
  public func open(_ bytes: [UInt8]) throws(Unreadable) -> [UInt8] {
    do {
      var decoder = WireDecoder(bytes)
      guard try decoder.take(UInt64.self) == magic else { throw Unreadable.damaged }
      let found = try decoder.take(UInt32.self)
      guard found == version else { throw Unreadable.otherVersion(found) }
      let sum = try decoder.take(UInt32.self)
      let body = try decoder.takeBytes(decoder.remaining)
      guard Self.checksum(body) == sum else { throw Unreadable.damaged }
      return body
    } catch let error as Unreadable { throw error } catch { throw .damaged }
  }

  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe CRC32C.standard($0) }
  }
}
