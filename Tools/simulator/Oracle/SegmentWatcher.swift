import BlockModel
import Journal

/// Looks at what a site writes to the segment files of one group and finds the records in it, with
/// the journal's own decoders.
///
/// Only bytes that were written since the segment's header count, and only as far as whole,
/// verified records reach; a batch ends with zeros, which the next one overwrites.
final class SegmentWatcher {
  struct Found {
    let identity: SegmentIdentity
    let sequence: UInt64
    let index: Int
    let header: RecordHeader
    let payload: [UInt8]
  }

  enum Event {
    case opened(SegmentHeader)
    case record(Found)
    /// Writing goes on before the end of the records that are known: these are given up.
    case rewound(lastSequence: UInt64)
    /// Bytes that follow nothing that is known.
    case astray(String)
  }

  /// One use of a segment file.
  private final class Use {
    let header: SegmentHeader
    /// From the start of the file.
    var bytes: [UInt8]
    /// Where each record begins, and the next one would.
    var starts: [Int] = [SegmentHeader.byteCount]

    init(_ header: SegmentHeader, _ bytes: [UInt8]) {
      self.header = header
      self.bytes = bytes
    }
  }

  private var uses: [String: Use] = [:]
  private let report: (Event) -> Void

  init(report: @escaping (Event) -> Void) { self.report = report }

  func wrote(_ name: String, _ offset: Int, _ bytes: [UInt8]) {
    if offset == 0 {
      uses[name] = nil
      guard bytes.count >= SegmentHeader.byteCount,
        let header = try? SegmentHeader(decoding: Array(bytes[..<SegmentHeader.byteCount]))
      else { return }
      uses[name] = Use(header, bytes)
      report(.opened(header))
    }
    guard let use = uses[name] else { return }
    if offset > 0 { put(bytes, at: offset, in: use, name) }
    while let found = next(use) { report(.record(found)) }
  }

  private func put(_ bytes: [UInt8], at offset: Int, in use: Use, _ name: String) {
    guard offset <= use.bytes.count, let end = use.starts.last else {
      return report(.astray("\(name): a write at \(offset), where \(use.bytes.count) ends"))
    }
    if offset < end {
      guard let index = use.starts.firstIndex(of: offset) else {
        return report(.astray("\(name): a write at \(offset) breaks a record"))
      }
      use.starts.removeSubrange((index + 1)...)
      report(.rewound(lastSequence: use.header.firstSequence.rawValue + UInt64(index) - 1))
    }
    use.bytes.replaceSubrange(offset..., with: bytes)
  }

  private func next(_ use: Use) -> Found? {
    guard let start = use.starts.last else { return nil }
    let index = use.starts.count - 1
    let parsed = unsafe use.bytes.withUnsafeBytes { bytes -> (RecordHeader, Int)? in
      guard start + RecordHeader.byteCount <= bytes.count, let base = bytes.baseAddress,
        let header = unsafe RecordHeader(parsing: base + start)
      else { return nil }
      let end = start + RecordHeader.byteCount + header.payloadByteCount
      let seed = use.header.identity.checksumSeed ^ UInt32(truncatingIfNeeded: index)
      guard end <= bytes.count, unsafe header.verifies(base + start, checksumStart: seed) else {
        return nil
      }
      return (header, end)
    }
    guard let (header, end) = parsed else { return nil }
    use.starts.append(end)
    return Found(
      identity: use.header.identity,
      sequence: use.header.firstSequence.rawValue + UInt64(index), index: index, header: header,
      payload: Array(use.bytes[start + RecordHeader.byteCount..<end]))
  }
}
