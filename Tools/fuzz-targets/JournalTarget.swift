import BlockModel
import Journal
import SystemIO

/// A journal folder after a bad day. An input is a list of orders, of which the folder is made
/// (`FolderWriter`); recovery reads it, and a journal goes on from there.
enum JournalTarget {
  static func run(_ input: [UInt8]) throws(FuzzViolation) {
    var input = FuzzInput(input)
    var writer = FolderWriter(&input)
    writer.follow(&input)
    try StateFileCheck.check(writer.stateFile)
    try FolderCheck(folder: writer.folder, state: writer.state, cut: writer.cut).check()
  }
}

/// Makes a folder by orders of the input. A byte each: number and sizes of disks, what is applied
/// and durable, whether the peer went back.
struct FolderWriter {
  let folder = MemoryFolder()
  private(set) var state: JournalState
  let cut: SequenceNumber?
  private(set) var stateFile: [UInt8] = []
  private var segments: SegmentWriter
  private var names: [String] = []

  private static let segmentLimit = 8
  private static let orderLimit = 200

  init(_ input: inout FuzzInput) {
    let sizes: [UInt64] = [1 << 20, 4097, 1 << 40]
    let disks = Array(sizes.prefix(1 + input.below(3)))
    segments = SegmentWriter(disks: disks)
    var state = JournalState(
      groupName: "g", group: SegmentWriter.group,
      disks: disks.enumerated().map {
        .init(number: DiskNumber(UInt16($0.offset)), name: "d", byteCount: $0.element)
      }, baseline: .complete)
    let applied = min(segments.near(0, &input), SegmentWriter.largest)
    state.applied = .init(SequenceNumber(applied), .zero)
    state.durable = SequenceNumber(min(segments.near(0, &input), SegmentWriter.largest))
    self.state = state
    let choice = input.byte()
    // What is applied cannot be gone back behind.
    cut = choice < 128 ? nil : state.applied.sequence.advanced(by: UInt64(choice - 128))
  }

  mutating func follow(_ input: inout FuzzInput) {
    var orders = 0
    while !input.isEmpty, orders < Self.orderLimit {
      orders += 1
      switch input.below(8) {
      case 0: beginSegment(&input)
      case 1, 2, 3: writeRecord(&input)
      case 4: damage(&input)
      case 5: writeSidecar(&input)
      case 6: forgeSidecar(&input)
      default: writeState(&input)
      }
    }
  }

  private mutating func beginSegment(_ input: inout FuzzInput) {
    guard names.count < Self.segmentLimit else { return }
    let name = "segment-0000\(names.count)"
    names.append(name)
    let file = folder.create(name, byteCount: Int(SegmentWriter.segmentByteCount))
    overwrite(file, at: 0, segments.begin(&input))
    state.lineage.note(SegmentWriter.incarnation(segments.newestEpoch))
  }

  private mutating func writeRecord(_ input: inout FuzzInput) {
    let start = segments.position
    let record = segments.record(&input)
    guard let name = names.last, let file = try? folder.open(name),
      start + record.count <= Int(SegmentWriter.segmentByteCount)
    else { return }
    overwrite(file, at: start, record)
  }

  private func overwrite(_ file: MemoryFile, at position: Int, _ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe file.write($0, at: UInt64(position)) }
  }

  /// Changes a byte of a file, or cuts it off there.
  private func damage(_ input: inout FuzzInput) {
    let all = folder.names()
    guard !all.isEmpty, let file = try? folder.open(all[input.below(all.count)]) else { return }
    let position = Int(input.integer(UInt16.self))
    let change = input.byte()
    file.change { bytes in
      guard position < bytes.count else { return }
      if change == 0 {
        bytes.removeSubrange(position...)
      } else {
        bytes[position] ^= change
      }
    }
  }

  /// What the journal itself would write beside the last segment.
  private func writeSidecar(_ input: inout FuzzInput) {
    guard let name = names.last, let header = segments.header, let file = try? folder.open(name),
      let sidecar = try? SidecarIndex.scanning(
        file, header: header, end: segments.position,
        recordCount: segments.near(UInt64(segments.recordCount), &input),
        diskCount: state.diskCount), let bytes = try? sidecar.encoded()
    else { return }
    folder.replace(SidecarIndex.name(ofSegmentFile: name), with: bytes)
  }

  /// A sidecar of the last segment with right sums but for its pages, and the input's fields.
  private func forgeSidecar(_ input: inout FuzzInput) {
    guard let name = names.last, let header = segments.header else { return }
    var body = WireEncoder()
    let checkpoints = segments.near(0, &input)
    body.put(UInt32(truncatingIfNeeded: checkpoints))
    body.put(UInt32(256))
    body.put(UInt16(truncatingIfNeeded: segments.near(UInt64(state.disks.count), &input)))
    let counts = state.disks.map { _ in input.below(4) }
    let extentCounts = counts.map { segments.near(UInt64($0), &input) }
    for (count, extentCount) in zip(counts, extentCounts) {
      var words: [UInt64] = [0, 0, 4124]
      for _ in 0..<count {
        words = [
          segments.near(UInt64(input.byte()), &input),
          segments.near(UInt64(1 + input.below(200)), &input), segments.near(4124, &input),
        ]
      }
      body.put(extentCount)
      body.put(UInt32(truncatingIfNeeded: words[0] >> 8))
      body.put(UInt32(truncatingIfNeeded: words[2] &- 4124))
      body.put(UInt8(truncatingIfNeeded: words[1] >> 8))
    }
    let first = header.firstSequence.rawValue
    let records = segments.nextSequence &- first
    folder.replace(
      SidecarIndex.name(ofSegmentFile: name),
      with: ForgedSidecar(
        identity: header.identity,
        fields: [
          segments.near(first, &input), segments.near(records, &input),
          segments.near(UInt64(segments.position), &input),
          segments.near(header.firstTimestamp.rawValue, &input),
          segments.near(segments.lastTimestamp, &input),
        ], body: body.bytes
      ).encoded)
  }

  private mutating func writeState(_ input: inout FuzzInput) {
    stateFile = StateFileCheck.forged(body: input.bytes(input.below(200)), &input)
  }
}
