import Foundation

/// Sectors of 512 bytes that say which write they came from.
///
/// A sector holds the write's tag, its own number on the disk, and a filling made from both: so a
/// sector in the wrong place, or half of one write and half of another, does not verify. Odd tags
/// have a filling that does not compress, even ones a constant.
public enum TaggedSectors {
  public static let size = 512

  private static let words = size / MemoryLayout<UInt64>.size

  /// `count` sectors from number `first` on, as the write with `tag` leaves them.
  public static func make(tag: UInt64, first: Int, count: Int) -> [UInt8] {
    var sectors: [UInt64] = []
    sectors.reserveCapacity(count * words)
    for sector in first..<first + count { append(tag: tag, sector: UInt64(sector), to: &sectors) }
    return unsafe sectors.withUnsafeBytes { unsafe [UInt8]($0) }
  }

  /// The tag of the sector number `sector` of a disk's image; 0 when it is all zeros, nil when it
  /// is not what any one write leaves there.
  public static func tag(of sector: Int, in image: [UInt8]) -> UInt64? {
    unsafe image.withUnsafeBytes { image in
      let found = unsafe UnsafeRawBufferPointer(
        rebasing: image[sector * size..<(sector + 1) * size])
      let tag = unsafe found.loadUnaligned(as: UInt64.self)
      var expected: [UInt64] = []
      if tag == 0 {
        expected = [UInt64](repeating: 0, count: words)
      } else {
        append(tag: tag, sector: UInt64(sector), to: &expected)
      }
      return unsafe memcmp(found.baseAddress!, expected, size) == 0 ? tag : nil
    }
  }

  private static func append(tag: UInt64, sector: UInt64, to sectors: inout [UInt64]) {
    var filling = SeededGenerator(seed: tag ^ (sector << 40))
    sectors.append(tag)
    sectors.append(sector)
    if tag & 1 == 0 {
      sectors.append(contentsOf: repeatElement(filling.next(), count: words - 2))
    } else {
      for _ in 2..<words { sectors.append(filling.next()) }
    }
  }
}
