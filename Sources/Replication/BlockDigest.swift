import BlockModel
import COpenSSL
import SystemIO

/// The SHA-256 of a block's bytes. Blocks of one digest hold the same, whoever has chosen what they
/// hold.
public struct BlockDigest: Hashable, Sendable {
  /// Encoded.
  public static let byteCount = 32
  /// A disk's blocks begin at the multiples of it.
  public static let blockByteCount: UInt64 = 64 << 10

  private let words: (UInt64, UInt64, UInt64, UInt64)

  public init(of bytes: UnsafeRawBufferPointer) {
    #if MUTANTS
      let bytes = unsafe UnsafeRawBufferPointer(
        rebasing: bytes.prefix(Mutant.digestPart.isOn ? 512 : bytes.count))
    #endif
    var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    let isDone = unsafe withUnsafeMutableBytes(of: &words) { target in
      unsafe EVP_Digest(
        bytes.baseAddress, bytes.count, target.bindMemory(to: UInt8.self).baseAddress, nil,
        Algorithm.sha256.raw, nil)
    }
    precondition(isDone == 1, "SHA-256 takes any bytes")
    self.words = words
  }

  /// Of a whole block of zeros.
  public static let zeroBlock = zeros(Int(blockByteCount))

  public static func zeros(_ byteCount: Int) -> BlockDigest {
    unsafe [UInt8](repeating: 0, count: byteCount).withUnsafeBytes { unsafe BlockDigest(of: $0) }
  }

  /// Zeros are told from others without a digest: nobody sends one of them.
  func isDigest(of bytes: UnsafeRawBufferPointer) -> Bool {
    #if MUTANTS
      if Mutant.leaveOutDifferent.isOn { return true }
    #endif
    return unsafe !ZeroRuns.isZero(bytes) && BlockDigest(of: bytes) == self
  }

  public static func == (a: Self, b: Self) -> Bool { a.words == b.words }

  public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

  /// Fetched once: to look it up for each block would cost as much as a small block.
  @safe private struct Algorithm: @unchecked Sendable {
    static let sha256 = Algorithm()
    let raw: OpaquePointer

    private init() {
      guard let raw = unsafe EVP_MD_fetch(nil, "SHA256", nil) else {
        preconditionFailure("OpenSSL has SHA-256")
      }
      unsafe self.raw = raw
    }
  }
}

extension BlockDigest {
  fileprivate init(_ words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

  fileprivate var bigEndianWords: (UInt64, UInt64, UInt64, UInt64) {
    (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian)
  }
}

extension WireEncoder {
  mutating func put(_ digest: BlockDigest) {
    let words = digest.bigEndianWords
    put(words.0)
    put(words.1)
    put(words.2)
    put(words.3)
  }
}

extension WireDecoder {
  mutating func takeDigest() throws(Failure) -> BlockDigest {
    let words = (
      try take(UInt64.self), try take(UInt64.self), try take(UInt64.self), try take(UInt64.self)
    )
    return BlockDigest(
      (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian))
  }
}
