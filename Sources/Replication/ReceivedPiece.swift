import BlockModel
import Journal

/// What of a full copy has come for a range; the bytes lie where they arrived.
@safe public enum ReceivedPiece {
  case zeros
  case plain(UnsafeRawBufferPointer)
  /// In LZ4.
  case packed(UnsafeRawBufferPointer)

  /// The piece's bytes; nil: it is zeros.
  public func bytes(of piece: BaselinePiece) throws(LinkError) -> [UInt8]? {
    let count = piece.range.length
    switch self {
    case .zeros: return nil
    case .plain(let bytes):
      guard count == UInt64(bytes.count) else {
        throw .protocolViolation("baseline piece has the wrong length")
      }
      return unsafe Array(bytes)
    case .packed(let packed):
      guard count > 0, count <= UInt64(ReceivingLink.plainByteLimit) else {
        throw .protocolViolation("baseline piece has the wrong length")
      }
      var isWhole = false
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, filled in
        let target = UnsafeMutableRawBufferPointer(buffer)
        isWhole = unsafe LZ4.decompress(packed, into: target) == Int(count)
        filled = isWhole ? Int(count) : 0
      }
      guard isWhole else { throw .protocolViolation("baseline piece does not decompress") }
      return bytes
    }
  }
}
