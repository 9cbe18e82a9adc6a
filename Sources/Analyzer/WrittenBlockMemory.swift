/// Remembers which parts of a disk were written recently, to tell overwrites, in fixed memory.
///
/// What exactly is remembered: the blocks of 4 KiB that were written last, each with a mask of its
/// eight 512-byte sectors and the second of its last write. The table is set-associative: a block's
/// number selects a set of eight places, ordered from the last used to the first, and a new block
/// takes the place of the one unused longest. A byte is an overwrite when its sector was
/// written, in whole or in part, and its block was last written at most `memorySeconds` ago and is
/// still in the table. The most, 131,072 places (1 MiB), know the last 512 MiB of different blocks;
/// a smaller disk gets a table of its own size, and a site with many disks smaller ones.
struct WrittenBlockMemory: Sendable {
  static let blockShift: UInt64 = 12
  static let sectorShift: UInt64 = 9
  static let placesPerSet = 8
  static let placeBytes = 8
  static let minimumPlaces = 1024
  static let maximumPlaces = 131_072
  /// Age at which a block is forgotten, counted from its last write.
  static let memorySeconds: UInt64 = 600
  /// Bytes of one request that are looked up; the rest of a longer one is not judged.
  static let maximumLookupBytes: UInt64 = 32 << 20

  /// Seconds are kept in 24 bits: a block would have to rest for 194 days to look fresh again.
  private static let secondMask: UInt64 = 0xFF_FFFF

  // A place: tag in bits 32–63, second of the last write in bits 8–31, sector mask in 0–7.
  // An empty place is 0: when a block with tag 0 finds it, its empty mask makes it a new block.
  // None before the first write: a disk at rest takes no memory.
  private var places: [UInt64] = []
  private let setShift: UInt64
  private let setMask: UInt64

  /// - Parameter placeLimit: a table is not larger, if `minimumPlaces` allow it.
  init(diskBytes: UInt64, placeLimit: Int = maximumPlaces) {
    let blocks = Int(clamping: diskBytes >> Self.blockShift)
    let limit = min(placeLimit, Self.maximumPlaces)
    var count = Self.minimumPlaces
    while count * 2 <= limit && count < blocks { count *= 2 }
    capacity = count
    setMask = UInt64(count / Self.placesPerSet - 1)
    setShift = UInt64(setMask.nonzeroBitCount)
  }

  /// Blocks that fit.
  let capacity: Int
  var isEmpty: Bool { places.isEmpty }

  /// Looks a write up and remembers it.
  ///
  /// - Parameters: a write of at least one byte and at most `maximumLookupBytes`, `start ..< end`.
  /// - Returns: its bytes that were already remembered.
  @inline(__always)
  mutating func note(start: UInt64, end: UInt64, second: UInt64) -> UInt64 {
    if places.isEmpty { places = Array(repeating: 0, count: capacity) }
    let (setShift, setMask) = (setShift, setMask)
    return unsafe places.withUnsafeMutableBufferPointer { places in
      let last = end &- 1
      let (firstBlock, lastBlock) = (start >> Self.blockShift, last >> Self.blockShift)
      let (firstSector, lastSector) = (start >> Self.sectorShift & 7, last >> Self.sectorShift & 7)
      var known: UInt64 = 0
      var block = firstBlock
      while true {
        let low = block == firstBlock ? firstSector : 0
        let high = block == lastBlock ? lastSector : 7
        let sectors = (UInt64(0xFF) &<< low) & (UInt64(0xFF) &>> (7 &- high))
        // Blocks in sequence fall into sets in sequence; folding in the higher bits spreads
        // strides that are a multiple of the number of sets.
        let tag = block >> setShift
        let set = (block ^ tag ^ (tag >> setShift)) & setMask
        let place = unsafe places.baseAddress! + Int(truncatingIfNeeded: set) * Self.placesPerSet
        let hits = unsafe Self.touch(place, tag: tag, sectors: sectors, second: second)
        if hits != 0 {
          known &+= UInt64(hits.nonzeroBitCount) << Self.sectorShift
          if block == firstBlock && hits >> low & 1 != 0 { known &-= start & 511 }
          if block == lastBlock && hits >> high & 1 != 0 { known &-= 511 &- (last & 511) }
        }
        if block == lastBlock { return known }
        block &+= 1
      }
    }
  }

  /// Moves a block to the front of its set, which pushes the others back by one place, up to where
  /// the block was found or out of the set.
  ///
  /// - Returns: those of `sectors` that were remembered.
  @inline(__always)
  private static func touch(
    _ set: UnsafeMutablePointer<UInt64>, tag: UInt64, sectors: UInt64, second: UInt64
  ) -> UInt64 {
    let tagBits = tag << 32
    let stamp = second & secondMask
    var moving = tagBits | stamp << 8 | sectors
    for index in 0..<placesPerSet {
      let occupant = unsafe set[index]
      unsafe set[index] = moving
      moving = occupant
      if occupant >> 32 == tagBits >> 32 {
        let age = (stamp &- (occupant >> 8)) & secondMask
        guard age <= memorySeconds else { return 0 }
        unsafe set[0] |= occupant & 0xFF
        return occupant & sectors
      }
    }
    return 0
  }
}
