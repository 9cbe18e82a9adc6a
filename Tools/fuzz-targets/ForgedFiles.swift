import BlockModel
import Journal
import SystemIO

// Files of the journal whose sums are right and whose fields are anybody's, by the page
// `docs/journal-format.md`.

struct ForgedSidecar {
  let identity: SegmentIdentity
  /// First sequence, number of records, end, first and last timestamp.
  let fields: [UInt64]
  let body: [UInt8]

  var encoded: [UInt8] {
    var encoder = WireEncoder()
    encoder.put(SidecarIndex.magic)
    encoder.put(SidecarIndex.version)
    encoder.put(UInt32(body.count))
    encoder.put(identity.group.high)
    encoder.put(identity.group.low)
    encoder.put(identity.incarnation.identifier)
    encoder.put(UInt64(identity.number))
    for field in fields { encoder.put(field) }
    encoder.put(sum(body))
    encoder.pad(to: SidecarIndex.headerByteCount - 4)
    encoder.put(sum(encoder.bytes))
    return encoder.bytes + body
  }
}

private func sum(_ bytes: [UInt8]) -> UInt32 {
  unsafe bytes.withUnsafeBytes { unsafe CRC32C.standard($0) }
}

/// The state file: whatever is read is written and read again as the same.
enum StateFileCheck {
  private static let copyByteCount = 256 << 10

  /// One copy with the body's sum, unless the input chooses another.
  static func forged(body: [UInt8], _ input: inout FuzzInput) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(UInt64(0x5441_504c_5354_4154))
    encoder.put(UInt32(input.byte() == 255 ? 1 : 2))
    encoder.put(UInt64(input.byte()))
    encoder.put(input.byte() == 255 ? UInt32(input.integer(UInt32.self)) : UInt32(body.count))
    encoder.put(input.byte() == 255 ? UInt32(1) : sum(body))
    return encoder.bytes + body
  }

  static func check(_ copy: [UInt8]) throws(FuzzViolation) {
    var bytes = [UInt8](repeating: 0, count: 2 * copyByteCount)
    bytes.replaceSubrange(copyByteCount..<copyByteCount + copy.count, with: copy)
    let file = JournalStateFile(MemoryFile(bytes))
    let (first, again) = try mustSucceed("the state file") { () throws(Errno) in
      let first = try file.read()
      if case .state(let state, let generation) = first {
        try file.write(state, generation: generation &+ 1)
      }
      return (first, try file.read())
    }
    if case .state(let state, let generation) = first {
      try require(again == .state(state, generation: generation &+ 1), "a state that changes")
    }
  }
}
