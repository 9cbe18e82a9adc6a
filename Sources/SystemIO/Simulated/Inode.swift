import Glibc

/// A simulated file: what the page cache shows, and what the disk would still have after a power
/// cut.
///
/// Fault model. Since its last sync a page may have had several versions. A power cut leaves of
/// each 512-byte sector any one of them, or what was synced. A write-back that fails, in a sync or
/// by itself, writes some pages and marks all of them clean, as Linux does: what was not written
/// can be read until the pages leave memory, which is at once in some worlds. New holes are not
/// lost that way: the file system's journal has them.
///
/// Each open file is told of a loss once, by the first call that asks (Linux's errseq). One that is
/// opened later hears nothing, unless nobody has been told yet.
final class Inode {
  static let pageBytes = 4096
  static let sectorBytes = 512

  private struct Page {
    /// Nil where there is a hole.
    var current: [UInt8]?
    var durable: [UInt8]?
    /// Between the two, oldest first.
    var older: [(bytes: [UInt8]?, version: UInt64)] = []
    var isDirty = false
    /// Counts the writes, so that a sync knows what came after its beginning.
    var version: UInt64 = 0
    var durableVersion: UInt64 = 0

    /// A sync has taken `bytes` to the disk. One that began later may have ended before.
    mutating func persist(_ bytes: [UInt8]?, _ version: UInt64) {
      guard version > durableVersion else { return }
      durable = bytes
      durableVersion = version
      older.removeAll { $0.version <= version }
    }
  }

  private var pages: [Int: Page] = [:]
  private(set) var byteCount: UInt64 = 0
  private var durableByteCount: UInt64 = 0
  private var version: UInt64 = 0
  /// The open file that has the lock.
  weak var lock: OpenFile?
  private var lossCount: UInt64 = 0
  private var isLossTold = true
  /// When the last write-out that was started will have ended.
  var writeOutEnd: UInt64 = 0

  private static let versionLimit = 4
  static let zeros = [UInt8](repeating: 0, count: pageBytes)

  /// Bytes that take space.
  var allocatedBytes: Int { pages.values.count { $0.current != nil } * Self.pageBytes }

  /// New pages that a write to the range needs.
  func missingBytes(_ offset: UInt64, _ count: Int) -> Int {
    guard count > 0 else { return 0 }
    return pageRange(offset, count).count { pages[$0]?.current == nil } * Self.pageBytes
  }

  private func pageRange(_ offset: UInt64, _ count: Int) -> ClosedRange<Int> {
    Int(offset) / Self.pageBytes...(Int(offset) + count - 1) / Self.pageBytes
  }

  // MARK: Reading and writing

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int {
    guard offset < byteCount else { return 0 }
    let total = min(buffer.count, Int(byteCount - offset))
    var done = 0
    while done < total {
      let position = Int(offset) + done
      let inPage = position % Self.pageBytes
      let count = min(total - done, Self.pageBytes - inPage)
      let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
      if let bytes = pages[position / Self.pageBytes]?.current {
        unsafe bytes.withUnsafeBytes { source in
          unsafe target.copyMemory(from: .init(rebasing: source[inPage..<inPage + count]))
        }
      } else {
        unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
      }
      done += count
    }
    return total
  }

  func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) {
    var done = 0
    while done < buffer.count {
      let position = Int(offset) + done
      let inPage = position % Self.pageBytes
      let count = min(buffer.count - done, Self.pageBytes - inPage)
      let source = unsafe UnsafeRawBufferPointer(rebasing: buffer[done..<done + count])
      change(position / Self.pageBytes) { bytes in
        if bytes == nil { bytes = Self.zeros }
        unsafe bytes?.withUnsafeMutableBytes { target in
          unsafe UnsafeMutableRawBufferPointer(rebasing: target[inPage..<inPage + count])
            .copyMemory(from: source)
        }
      }
      done += count
    }
    byteCount = max(byteCount, offset + UInt64(buffer.count))
  }

  private func change(_ index: Int, _ body: (inout [UInt8]?) -> Void) {
    var page = pages[index] ?? Page()
    if page.isDirty {
      page.older.append((page.current, page.version))
      if page.older.count > Self.versionLimit { page.older.removeFirst() }
    }
    version += 1
    page.isDirty = true
    page.version = version
    body(&page.current)
    pages[index] = page
  }

  /// Zeros the range; whole pages become holes if wanted.
  func zero(_ offset: UInt64, _ count: UInt64, asHole: Bool) {
    var position = Int(offset)
    let end = min(Int(offset + count), Int(byteCount))
    while position < end {
      let inPage = position % Self.pageBytes
      let count = min(end - position, Self.pageBytes - inPage)
      change(position / Self.pageBytes) { bytes in
        if count == Self.pageBytes {
          bytes = asHole ? nil : Self.zeros
        } else if bytes != nil {
          for index in inPage..<inPage + count { bytes?[index] = 0 }
        }
      }
      position += count
    }
  }

  func allocate(_ count: UInt64) {
    for index in 0..<Int((count + UInt64(Self.pageBytes) - 1) / UInt64(Self.pageBytes))
    where pages[index]?.current == nil {
      change(index) { $0 = Self.zeros }
    }
    byteCount = max(byteCount, count)
  }

  func truncate(_ count: UInt64) {
    if count < byteCount {
      zero(count, byteCount - count, asHole: true)
    }
    byteCount = count
  }

  /// The first offset from `offset` on that is data, or is not.
  func next(data isData: Bool, from offset: UInt64) -> UInt64? {
    var position = offset
    while position < byteCount {
      let index = Int(position) / Self.pageBytes
      if (pages[index]?.current != nil) == isData { return position }
      position = UInt64((index + 1) * Self.pageBytes)
    }
    return isData ? nil : byteCount
  }

  // MARK: Durability

  /// What a sync that begins now will have made durable.
  struct Snapshot {
    fileprivate var pages: [(index: Int, bytes: [UInt8]?, version: UInt64)]
    fileprivate var byteCount: UInt64
    var isEmpty: Bool { pages.isEmpty }
  }

  func snapshot() -> Snapshot {
    var dirty: [(index: Int, bytes: [UInt8]?, version: UInt64)] = []
    for (index, page) in pages where page.isDirty {
      dirty.append((index, page.current, page.version))
    }
    dirty.sort { $0.index < $1.index }
    return Snapshot(pages: dirty, byteCount: byteCount)
  }

  func complete(_ snapshot: Snapshot) {
    for synced in snapshot.pages {
      // A page that is clean by now was written out, or was lost with that.
      guard var page = pages[synced.index], page.isDirty else { continue }
      page.persist(synced.bytes, synced.version)
      if page.version == synced.version {
        page.isDirty = false
        page.current = synced.bytes
      }
      pages[synced.index] = page
    }
    durableByteCount = max(min(durableByteCount, byteCount), snapshot.byteCount)
  }

  /// Some pages reach the disk; all count as clean.
  ///
  /// - Parameter forgets: what was lost is not in memory any more either.
  func fail(_ snapshot: Snapshot, forgets: Bool, _ random: inout SimulationRandom) {
    lossCount += 1
    isLossTold = false
    for synced in snapshot.pages {
      guard var page = pages[synced.index] else { continue }
      // Holes are the file system's own, and not lost with the data.
      if random.chance(0.5) || synced.bytes == nil { page.persist(synced.bytes, synced.version) }
      if page.version == synced.version {
        page.isDirty = false
        page.older = []
        if forgets { page.current = page.durable }
      }
      pages[synced.index] = page
    }
  }

  var hasUntoldLoss: Bool { !isLossTold }

  /// What an open file keeps, to find out what happens after its opening.
  var lossMark: UInt64 { isLossTold ? lossCount : lossCount - 1 }

  /// Whether something was lost since `mark`, which is told with this.
  func tellsLoss(since mark: inout UInt64) -> Bool {
    if mark == lossCount { return false }
    mark = lossCount
    isLossTold = true
    return true
  }

  /// Clean pages are read from the disk again; what a failed sync has lost shows now.
  func forgetCached() {
    for (index, page) in pages where !page.isDirty { pages[index]?.current = page.durable }
  }

  func losePower(keepsSome: Bool, _ random: inout SimulationRandom) {
    let keep = keepsSome ? [0.0, 0.1, 0.5, 0.9, 1.0][random.below(5)] : 0
    for index in pages.keys.sorted() {
      guard var page = pages[index] else { continue }
      if page.isDirty {
        page.durable = Self.torn(
          page.durable, page.older.map(\.bytes) + [page.current], keep: keep, &random)
      }
      // What a failed sync lost shows now.
      page.current = page.durable
      page.isDirty = false
      page.older = []
      pages[index] = page
    }
    if byteCount != durableByteCount, random.chance(keep) { durableByteCount = byteCount }
    byteCount = durableByteCount
    lock = nil
    isLossTold = true
    writeOutEnd = 0
  }

  private static func torn(
    _ durable: [UInt8]?, _ versions: [[UInt8]?], keep: Double,
    _ random: inout SimulationRandom
  ) -> [UInt8]? {
    // Whole pages mostly; sectors of their own sometimes.
    func chosen() -> [UInt8]? {
      random.chance(keep) ? versions[random.below(versions.count)] : durable
    }
    if random.chance(0.7) { return chosen() }
    var result = zeros
    for start in stride(from: 0, to: pageBytes, by: sectorBytes) {
      guard let bytes = chosen() else { continue }
      result.replaceSubrange(start..<start + sectorBytes, with: bytes[start..<start + sectorBytes])
    }
    return result
  }

  // MARK: Past the system

  /// Another file with the same bytes, all of them durable.
  func copied() -> Inode {
    let copy = Inode()
    copy.pages = pages.mapValues { page in
      var page = Page(current: page.current, durable: page.current)
      page.isDirty = false
      return page
    }
    copy.byteCount = byteCount
    copy.durableByteCount = byteCount
    return copy
  }

  /// Whether its bytes are these, in pages of `pageBytes`, of which the last may be shorter.
  func holds(_ pages: [[UInt8]], byteCount: Int) -> Bool {
    guard UInt64(byteCount) == self.byteCount else { return false }
    return pages.enumerated().allSatisfy { index, page in
      let own = self.pages[index]?.current ?? Self.zeros
      return unsafe own.withUnsafeBytes { own in
        unsafe page.withUnsafeBytes { page in
          guard let own = own.baseAddress, let page = page.baseAddress else { return true }
          return unsafe memcmp(own, page, pages[index].count) == 0
        }
      }
    }
  }

  var allBytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(byteCount))
    _ = unsafe bytes.withUnsafeMutableBytes { unsafe read(into: $0, at: 0) }
    return bytes
  }

  /// What is read once memory has forgotten what is clean.
  var settledBytes: [UInt8] {
    var bytes = allBytes
    for (index, page) in pages where !page.isDirty && index * Self.pageBytes < bytes.count {
      let end = min((index + 1) * Self.pageBytes, bytes.count)
      let durable = (page.durable ?? Self.zeros).prefix(end - index * Self.pageBytes)
      bytes.replaceSubrange(index * Self.pageBytes..<end, with: durable)
    }
    return bytes
  }

  /// Whether what can be read at these bytes is what the disk has.
  private func isAtRest(_ offset: UInt64, _ count: Int) -> Bool {
    offset + UInt64(count) <= byteCount
      && pageRange(offset, count).allSatisfy { pages[$0].map { !$0.isDirty } ?? false }
  }

  /// False, and nothing has happened, where the byte is not at rest.
  func flipBit(at offset: UInt64, bit: UInt8) -> Bool {
    let index = Int(offset) / Self.pageBytes
    let place = Int(offset) % Self.pageBytes
    guard isAtRest(offset, 1), pages[index]?.durable != nil else { return false }
    pages[index]?.current?[place] ^= 1 << (bit & 7)
    pages[index]?.durable?[place] ^= 1 << (bit & 7)
    return true
  }

  /// False, and nothing has happened, where either sector is not at rest.
  func copySector(from source: UInt64, of other: Inode, to target: UInt64) -> Bool {
    let size = Self.sectorBytes
    let (from, to) = (Int(source) / size * size, Int(target) / size * size)
    guard other.isAtRest(UInt64(from), size), isAtRest(UInt64(to), size),
      let bytes = other.pages[from / Self.pageBytes]?.durable,
      pages[to / Self.pageBytes]?.durable != nil
    else { return false }
    let start = from % Self.pageBytes
    let place = to % Self.pageBytes
    let sector = bytes[start..<start + size]
    pages[to / Self.pageBytes]?.current?.replaceSubrange(place..<place + size, with: sector)
    pages[to / Self.pageBytes]?.durable?.replaceSubrange(place..<place + size, with: sector)
    return true
  }
}
