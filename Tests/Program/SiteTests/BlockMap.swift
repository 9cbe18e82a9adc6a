import TestSupport

/// What BLOCK_STATUS says of an export, as `nbdinfo --map` shows it.
struct BlockMap: Equatable {
  struct Run: Equatable {
    let offset: Int
    let length: Int
    let flags: Int
  }

  var runs: [Run]

  /// The map of the whole export; neighbours with the same flags are one run.
  init(_ uri: String, _ context: String = "base:allocation") throws {
    let map = try run("nbdinfo", ["--json", "--map=\(context)", uri]).checked()
    runs = []
    for element in try JSON(map.stdout).elements {
      guard let offset = element["offset"]?.integer, let length = element["length"]?.integer,
        let flags = element["type"]?.integer
      else { throw RigError("not a map: \(map.stdout)") }
      if let last = runs.last, last.flags == flags, last.offset + last.length == offset {
        runs[runs.count - 1] = Run(
          offset: last.offset, length: last.length + length, flags: flags)
      } else {
        runs.append(Run(offset: offset, length: length, flags: flags))
      }
    }
  }

  var byteCount: Int { runs.reduce(0) { $0 + $1.length } }

  /// Whether one of the bits is set in the run that holds `offset`.
  func hasFlags(_ flags: Int, at offset: Int) -> Bool {
    runs.contains {
      offset >= $0.offset && offset < $0.offset + $0.length && $0.flags & flags != 0
    }
  }
}
