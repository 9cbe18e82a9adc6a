/// The bytes of a disk as the oracle has them, in pages that copies share until one of them
/// changes.
struct DiskImage {
  private static let pageBytes = 4096

  let byteCount: Int
  private(set) var pages: [[UInt8]]

  init(_ bytes: [UInt8]) {
    byteCount = bytes.count
    pages = stride(from: 0, to: bytes.count, by: Self.pageBytes).map {
      Array(bytes[$0..<min($0 + Self.pageBytes, bytes.count)])
    }
  }

  mutating func write(_ bytes: [UInt8], at offset: Int) {
    change(offset, bytes.count) { page, place, range in
      page.replaceSubrange(place..<place + range.count, with: bytes[range])
    }
  }

  mutating func zero(at offset: Int, count: Int) {
    change(offset, count) { page, place, range in
      for index in place..<place + range.count { page[index] = 0 }
    }
  }

  /// Calls `body` for the part of each page: the page, where in it, and which of `count` bytes.
  private mutating func change(
    _ offset: Int, _ count: Int, _ body: (inout [UInt8], Int, Range<Int>) -> Void
  ) {
    var done = 0
    while done < count {
      let place = (offset + done) % Self.pageBytes
      let length = min(count - done, Self.pageBytes - place)
      body(&pages[(offset + done) / Self.pageBytes], place, done..<done + length)
      done += length
    }
  }

  func bytes(at offset: Int, count: Int) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count)
    while result.count < count {
      let place = (offset + result.count) % Self.pageBytes
      let length = min(count - result.count, Self.pageBytes - place)
      result += pages[(offset + result.count) / Self.pageBytes][place..<place + length]
    }
    return result
  }

  var bytes: [UInt8] { bytes(at: 0, count: byteCount) }
}

/// Where two runs of bytes differ, for a message; nil when they are equal.
func difference(of found: [UInt8], from expected: [UInt8], at offset: Int = 0) -> String? {
  if found == expected { return nil }
  guard found.count == expected.count else {
    return "\(found.count) bytes instead of \(expected.count)"
  }
  let wrong = found.indices.filter { found[$0] != expected[$0] }
  guard let first = wrong.first, let last = wrong.last else { return nil }
  return "\(wrong.count) bytes differ between \(offset + first) and \(offset + last); the first is "
    + "\(found[first]) instead of \(expected[first])"
}
