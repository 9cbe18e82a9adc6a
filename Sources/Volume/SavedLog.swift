import BlockModel
import Journal
import SystemIO

/// The form of an overlay that outlives its process: what apply saves for a branch
/// (docs/branch-format.md). Integers are big-endian.
///
/// Page 0 is the head: a `SealedForm`, `TAPLSAVE`, of the branch's identity (128 bits). At 2048:
/// zeros, or `TAPLLOST` once something could not be saved. From 4096 on entries follow each other,
/// each a header of 64 bytes and, unless it is of zeros, the bytes.
///
/// Nothing of a disk is written over before the entries that save it are durable. So an entry that
/// does not verify at the end of the log saves what is still there, and the log ends before it.
enum SavedLog {
  static let headByteCount: UInt64 = 4096
  private static let form = SealedForm(magic: 0x5441_504C_5341_5645, version: 1)  // "TAPLSAVE"
  private static let loss: UInt64 = 0x5441_504C_4C4F_5354  // "TAPLLOST"
  private static let lossPosition: UInt64 = 2048

  struct Entry: Equatable {
    static let byteCount = 64
    private static let magic: UInt32 = 0x5341_5645  // "SAVE"

    var disk: DiskNumber
    var range: ByteRange
    /// Nothing follows it.
    var isZeros: Bool
    /// CRC-32C of what follows.
    var sum: UInt32 = 0
    /// What lay before this position was durable when the entry was written.
    var durableEnd: UInt64

    /// - Parameter identity: of the branch; seeds the checksum.
    func encoded(_ identity: [UInt8]) -> [UInt8] {
      var encoder = WireEncoder()
      encoder.put(disk.rawValue)
      encoder.put(UInt16(isZeros ? 1 : 0))
      encoder.put(sum)
      encoder.put(range.start)
      encoder.put(range.length)
      encoder.put(durableEnd)
      var whole = WireEncoder()
      whole.put(Self.magic)
      whole.put(checksum(identity + encoder.bytes))
      whole.put(encoder.bytes)
      whole.pad(to: Self.byteCount)
      return whole.bytes
    }

    /// Nil: no entry of this log is there.
    init?(_ bytes: [UInt8], _ identity: [UInt8]) {
      guard bytes.count == Self.byteCount else { return nil }
      do throws(WireDecoder.Failure) {
        var decoder = WireDecoder(bytes)
        let magic = try decoder.take(UInt32.self)
        let found = try decoder.take(UInt32.self)
        let fields = try decoder.takeBytes(32)
        guard magic == Self.magic, found == checksum(identity + fields) else { return nil }
        decoder = WireDecoder(fields)
        disk = DiskNumber(try decoder.take())
        let kind = try decoder.take(UInt16.self)
        sum = try decoder.take()
        let start = try decoder.take(UInt64.self)
        let length = try decoder.take(UInt64.self)
        durableEnd = try decoder.take()
        guard length > 0, kind <= 1, !start.addingReportingOverflow(length).overflow else {
          return nil
        }
        range = ByteRange(start: start, length: length)
        isZeros = kind == 1
      } catch { return nil }
    }

    init(
      _ disk: DiskNumber, _ range: ByteRange, isZeros: Bool, sum: UInt32 = 0, durableEnd: UInt64
    ) {
      self.disk = disk
      self.range = range
      self.isZeros = isZeros
      self.sum = sum
      self.durableEnd = durableEnd
    }
  }

  static func head(_ identity: [UInt8]) -> [UInt8] {
    precondition(identity.count == 16)
    return form.seal(identity)
  }

  enum Head: Equatable { case intact, lost, foreign }

  static func readHead<File: JournalFile>(
    of file: File, _ identity: [UInt8]
  ) throws(Errno) -> Head {
    let expected = head(identity)
    guard try bytes(of: file, at: 0, expected.count) == expected else { return .foreign }
    var encoder = WireEncoder()
    encoder.put(loss)
    return try bytes(of: file, at: lossPosition, 8) == encoder.bytes ? .lost : .intact
  }

  /// Durable when it returns. Needs no space.
  static func noteLoss<File: JournalFile>(in file: File) throws(Errno) {
    var encoder = WireEncoder()
    encoder.put(loss)
    try write(encoder.bytes, to: file, at: lossPosition)
    try file.syncData()
  }

  static func write<File: JournalFile>(
    _ bytes: [UInt8], to file: File, at position: UInt64
  ) throws(Errno) {
    let result = unsafe bytes.withUnsafeBytes { buffer -> Result<Void, Errno> in
      do throws(Errno) { return .success(try unsafe file.write(buffer, at: position)) } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  /// Fewer at the end of the file.
  static func bytes<File: JournalFile>(
    of file: File, at position: UInt64, _ count: Int
  ) throws(Errno) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Int, Errno> in
      do throws(Errno) {
        return .success(try unsafe file.read(into: buffer, at: position))
      } catch { return .failure(error) }
    }
    return Array(bytes.prefix(try result.get()))
  }
}

private func checksum(_ bytes: [UInt8]) -> UInt32 {
  unsafe bytes.withUnsafeBytes { unsafe CRC32C.standard($0) }
}
