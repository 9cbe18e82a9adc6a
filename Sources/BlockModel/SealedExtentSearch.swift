/// What makes look-ups in a large sorted array of starts short: every 64th start, of those again
/// every 64th, and so on until 64 or fewer are left.
///
/// Each level is a row of windows of 64, the last filled up with `ExtentNodeLayout.unusedStart`, so
/// that all levels are searched as the nodes of an `ExtentMap` are. The array itself needs no
/// filling: its last window is moved back until it is full. Costs 1.6 % of the starts' memory.
@safe
struct SealedExtentSearch: ~Copyable, @unchecked Sendable {
  private static let window = ExtentNodeLayout.capacity
  /// 64⁵ is 2³⁰, the most extents of a map: the array and four levels above it.
  private static let maximumLevels = 4

  private let count: Int
  private let levelCount: Int
  /// Where each level begins in `samples`, in words; the coarsest level first.
  private var offsets: InlineArray<4, Int> = .init(repeating: 0)
  private let samples: UnsafeMutablePointer<UInt64>

  /// Reads every 64th of the `count` ascending `starts`.
  init(starts: UnsafePointer<UInt64>, count: Int) {
    // Entries of each level, finest first.
    var sizes: [Int] = []
    var size = count
    while size > Self.window {
      size = (size + Self.window - 1) / Self.window
      sizes.append(size)
    }
    precondition(sizes.count <= Self.maximumLevels, "more extents than the limit")
    self.count = count
    levelCount = sizes.count
    var words = 0
    for (level, size) in sizes.reversed().enumerated() {
      offsets[level] = words
      words += (size + Self.window - 1) / Self.window * Self.window
    }
    unsafe samples = .allocate(capacity: words)
    unsafe samples.initialize(repeating: ExtentNodeLayout.unusedStart, count: words)

    var finer = unsafe starts
    for (depth, size) in sizes.enumerated() {
      let level = unsafe samples + offsets[sizes.count - 1 - depth]
      for index in 0..<size { unsafe level[index] = unsafe finer[index * Self.window] }
      unsafe finer = unsafe UnsafePointer(level)
    }
  }

  deinit { unsafe samples.deallocate() }

  /// Number of starts at or before `key`. `starts` is the array of the initializer.
  @inline(__always)
  func rank(of key: UInt64, in starts: UnsafePointer<UInt64>) -> Int {
    guard count >= Self.window else { return unsafe shortRank(of: key, in: starts) }
    var index = 0
    var level = 0
    while level < levelCount {
      let first = index &* Self.window
      let samples = unsafe UnsafePointer(samples + offsets[level] + first)
      index = unsafe first &+ ExtentNodeLayout.slot(of: key, in: samples)
      level &+= 1
    }
    let first = min(index &* Self.window, count &- Self.window)
    let slot = unsafe first &+ ExtentNodeLayout.slot(of: key, in: starts + first)
    return unsafe starts[slot] <= key ? slot &+ 1 : 0
  }

  private func shortRank(of key: UInt64, in starts: UnsafePointer<UInt64>) -> Int {
    var rank = 0
    for index in 0..<count { rank &+= unsafe starts[index] <= key ? 1 : 0 }
    return rank
  }
}
