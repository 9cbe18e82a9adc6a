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
    /// In the file of another one, which is gone with it.
    case opened(SegmentHeader, over: SegmentIdentity?)
    case record(Found)
    /// Writing goes on before the end of the records that are known: these are given up.
    case rewound(lastSequence: UInt64)
    /// Bytes that follow nothing that is known.
    case astray(String)
  }

  /// One use of a segment file.
  private final class Use {
    /// Nil until it has been written whole.
    var header: SegmentHeader?
    /// What the file held before.
    var replaced: SegmentIdentity?
    /// From the start of the file.
    var bytes: [UInt8] = []
    /// Where each record begins, and the next one would.
    var starts: [Int] = [SegmentHeader.byteCount]
  }

  private var uses: [String: Use] = [:]
  private let report: (Event) -> Void

  init(report: @escaping (Event) -> Void) { self.report = report }

  func wrote(_ name: String, _ offset: Int, _ bytes: [UInt8]) {
    if offset == 0 {
      let replaced = uses[name].flatMap { $0.header?.identity ?? $0.replaced }
      let use = Use()
      use.replaced = replaced
      uses[name] = use
    }
    guard let use = uses[name] else { return }
    put(bytes, at: offset, in: use, name)
    if use.header == nil {
      guard use.bytes.count >= SegmentHeader.byteCount else { return }
      use.header = try? SegmentHeader(decoding: Array(use.bytes[..<SegmentHeader.byteCount]))
      guard let header = use.header else {
        uses[name] = nil
        return
      }
      report(.opened(header, over: use.replaced))
    }
    while let found = next(use) { report(.record(found)) }
  }

  /// After a power cut: what the file has now. Its records were reported when they were written.
  func reload(_ name: String, _ bytes: [UInt8]) {
    uses[name] = nil
    guard bytes.count >= SegmentHeader.byteCount,
      let header = try? SegmentHeader(decoding: Array(bytes[..<SegmentHeader.byteCount]))
    else { return }
    let use = Use()
    use.header = header
    use.bytes = bytes
    uses[name] = use
    while next(use) != nil {}
  }

  /// Files that are not there any more.
  func forget(_ isGone: (_ name: String) -> Bool) {
    for name in uses.keys.sorted() where isGone(name) { uses[name] = nil }
  }

  /// The segments that hold the record, and its index there; the newest epoch first.
  func places(of sequence: UInt64) -> [(identity: SegmentIdentity, index: Int)] {
    uses.values.compactMap { use -> (identity: SegmentIdentity, index: Int)? in
      guard let header = use.header, sequence >= header.firstSequence.rawValue else { return nil }
      let index = Int(sequence - header.firstSequence.rawValue)
      return index < use.starts.count - 1 ? (header.identity, index) : nil
    }
    .sorted { $0.identity.epoch > $1.identity.epoch }
  }

  func holds(_ identity: SegmentIdentity, _ index: Int) -> Bool {
    uses.values.contains { $0.header?.identity == identity && index < $0.starts.count - 1 }
  }

  /// Whether all that came before the record, as far as it is not applied, is there.
  func holdAll(through last: Record, after applied: UInt64) -> Bool {
    var next: Record? = last
    while let record = next, record.sequence > applied {
      guard holds(record.identity, record.index) else { return false }
      next = record.previous
    }
    return true
  }

  /// The records that have payload in a range of the file: their indices, and which bytes of it.
  func records(
    in range: Range<Int>, of name: String
  ) -> (identity: SegmentIdentity, records: [(index: Int, bytes: Range<Int>)])? {
    guard let use = uses[name], let header = use.header else { return nil }
    let records = zip(use.starts, use.starts.dropFirst()).enumerated().compactMap {
      index, span -> (index: Int, bytes: Range<Int>)? in
      let payload = span.0 + RecordHeader.byteCount..<span.1
      let bytes = range.clamped(to: payload)
      if bytes.isEmpty { return nil }
      let start = bytes.lowerBound - payload.lowerBound
      return (index, start..<start + bytes.count)
    }
    return (header.identity, records)
  }

  private func put(_ bytes: [UInt8], at offset: Int, in use: Use, _ name: String) {
    guard offset <= use.bytes.count, let end = use.starts.last else {
      return report(.astray("\(name): a write at \(offset), where \(use.bytes.count) ends"))
    }
    if let header = use.header, offset < end {
      guard let index = use.starts.firstIndex(of: offset) else {
        return report(.astray("\(name): a write at \(offset) breaks a record"))
      }
      use.starts.removeSubrange((index + 1)...)
      report(.rewound(lastSequence: header.firstSequence.rawValue + UInt64(index) - 1))
    }
    use.bytes.replaceSubrange(offset..., with: bytes)
  }

  private func next(_ use: Use) -> Found? {
    guard let start = use.starts.last, let segment = use.header else { return nil }
    let index = use.starts.count - 1
    let parsed = unsafe use.bytes.withUnsafeBytes { bytes -> (RecordHeader, Int)? in
      guard start + RecordHeader.byteCount <= bytes.count, let base = bytes.baseAddress,
        let header = unsafe RecordHeader(parsing: base + start)
      else { return nil }
      let end = start + RecordHeader.byteCount + header.payloadByteCount
      let seed = segment.identity.checksumSeed ^ UInt32(truncatingIfNeeded: index)
      guard end <= bytes.count, unsafe header.verifies(base + start, checksumStart: seed) else {
        return nil
      }
      return (header, end)
    }
    guard let (header, end) = parsed else { return nil }
    use.starts.append(end)
    return Found(
      identity: segment.identity,
      sequence: segment.firstSequence.rawValue + UInt64(index), index: index, header: header,
      payload: Array(use.bytes[start + RecordHeader.byteCount..<end]))
  }
}
