import Foundation

/// Counts what a site's threads ask of the system: requests for memory, and how much of what they
/// write lies where a socket has put it. See `Tests/Support/PathCounter/path_counter.c`, which this
/// builds.
public final class PathCounter {
  public struct Counts: Sendable {
    /// Calls of malloc and the like, and of mmap.
    public var allocations = 0
    public var mappings = 0
    /// Calls of pwritev.
    public var writes = 0
    /// Bytes that these took from where recv had put them, and from other memory.
    public var bytesInPlace = 0
    public var bytesElsewhere = 0

    public static func - (a: Counts, b: Counts) -> Counts {
      Counts(
        allocations: a.allocations - b.allocations, mappings: a.mappings - b.mappings,
        writes: a.writes - b.writes, bytesInPlace: a.bytesInPlace - b.bytesInPlace,
        bytesElsewhere: a.bytesElsewhere - b.bytesElsewhere)
    }
  }

  private static let wordsOfThread = 8
  private let library: String
  private let file: String

  /// Needs `cc`.
  public init(in scratch: ScratchDirectory) throws {
    library = try PreloadedLibrary.build("PathCounter/path_counter.c", in: scratch)
    file = scratch.file("path_counts")
  }

  /// What the site's environment needs.
  public var environment: [String: String] {
    ["LD_PRELOAD": library, "PATH_COUNTER_FILE": file]
  }

  /// The sums of the site's threads whose names begin with one of `names`.
  public func counts(_ site: Site, threads names: [String]) throws -> Counts {
    let data = try Data(contentsOf: URL(fileURLWithPath: file))
    var sums = Counts()
    for start in stride(from: 0, to: data.count, by: Self.wordsOfThread * 8) {
      let words = unsafe data[start..<start + Self.wordsOfThread * 8].withUnsafeBytes {
        unsafe $0.bindMemory(to: UInt64.self).map { Int($0) }
      }
      if words[0] == 0 { break }
      guard let name = try site.threadName(words[0]), names.contains(where: name.hasPrefix) else {
        continue
      }
      sums.allocations += words[1]
      sums.mappings += words[2]
      sums.writes += words[4]
      sums.bytesInPlace += words[5]
      sums.bytesElsewhere += words[6]
    }
    return sums
  }
}
