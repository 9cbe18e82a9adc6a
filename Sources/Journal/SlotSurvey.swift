import BlockModel
import SystemIO

/// What is in each slot of a journal folder at a start.
///
/// Of a slot the header is read, and the head of its sidecar. A slot whose header is older than
/// `JournalState.oldestSegment` is free: nothing else of it is read, because its file may have been
/// written over. Of another one the seal stands for the segment, which then is not read, if
///
/// - it verifies and names the segment that the header names. It was written when the segment was
///   durable, and a segment's identity and number of records fix its content;
/// - a segment follows that begins right after its last record. So nothing was appended or cut
///   after the seal was made, and the decision table sees what a scan would tell it;
/// - its records are all applied, or none is and the sidecar has an index.
///
/// So what is read and verified from start to end is the segment that holds the first record that
/// is not applied, and those that were not sealed, durable and indexed yet.
struct SlotSurvey<Storage: JournalStorage> {
  typealias Slot = JournalRecovery<Storage>.Slot

  private(set) var facts: [SegmentFacts] = []
  /// By slot, of the segments that were not read.
  private(set) var seals: [Int: SegmentSeal] = [:]
  /// By slot, of those of them that are not applied.
  private(set) var sidecars: [Int: SidecarIndex.Opening] = [:]
  /// What seals say: a segment was durable before it got one.
  private(set) var vouched: [(epoch: UInt64, last: SequenceNumber)] = []

  private let slots: [Slot]
  private let state: JournalState
  /// A sync may have failed before. A later one would succeed, and still leave on the disk what is
  /// there now: that is what counts.
  private let isUnsure: Bool

  /// Blocks.
  ///
  /// - Parameter isUnsure: memory may hold what the disk does not.
  init(
    _ storage: Storage, _ slots: [Slot], _ state: JournalState, isUnsure: Bool
  ) throws(JournalError) {
    self.slots = slots
    self.state = state
    self.isUnsure = isUnsure
    // A sidecar that cannot be read counts as missing.
    let names = Set((try? storage.names()) ?? [])
    var found: [(header: SegmentHeader?, seal: SegmentSeal?)] = []
    var files: [Storage.File?] = []
    for slot in slots {
      let name = SidecarIndex.name(ofSegmentFile: slot.name)
      let sidecar = names.contains(name) ? try? storage.openToRead(name) : nil
      files.append(sidecar)
      found.append(try look(at: slot, sidecar))
    }
    let byNumber = Dictionary(grouping: found.compactMap(\.header), by: \.number)
    for (slot, (header, seal)) in found.enumerated() {
      guard let header else {
        facts.append(SegmentFacts(slot: slot))
        continue
      }
      if let seal { vouched.append((header.epoch, seal.span.lastSequence)) }
      if let seal, isFollowed(seal, header, byNumber[header.number &+ 1] ?? []),
        hasByte(before: seal.end, in: slots[slot].file),
        takes(seal, files[slot], header, slot)
      {
        facts.append(
          SegmentFacts(
            slot: slot, header: header, recordCount: seal.recordCount, end: seal.end,
            lastTimestamp: seal.span.lastTimestamp))
      } else {
        facts.append(try scan(slot, header))
      }
    }
  }

  /// The header of a segment of the group that was not recycled, and its seal.
  private func look(
    at slot: Slot, _ sidecar: Storage.File?
  ) throws(JournalError) -> (SegmentHeader?, SegmentSeal?) {
    var look = try lookOnce(at: slot, sidecar)
    // What has a seal was synced without a failure. What is void stays so: memory has the newer one
    // of two headers.
    if isUnsure, !look.isVoid, look.seal == nil {
      slot.file.forgetCached()
      look = try lookOnce(at: slot, sidecar)
    }
    return (look.header, look.seal)
  }

  private func lookOnce(
    at slot: Slot, _ sidecar: Storage.File?
  ) throws(JournalError) -> (header: SegmentHeader?, seal: SegmentSeal?, isVoid: Bool) {
    let header = try JournalRecovery<Storage>.readHeader(of: slot.file)
    guard let header, header.identity.group == state.group else { return (nil, nil, false) }
    if header.number < state.oldestSegment { return (nil, nil, true) }
    let seal = sidecar.flatMap { try? SidecarIndex.readSeal($0, of: header) }
    return (header, seal, false)
  }

  private func isFollowed(
    _ seal: SegmentSeal, _ header: SegmentHeader, _ followers: [SegmentHeader]
  ) -> Bool {
    followers.contains { $0.firstSequence == seal.next && $0.epoch >= header.epoch }
  }

  /// Whether the seal stands for its segment; remembers what it stands for.
  private mutating func takes(
    _ seal: SegmentSeal, _ file: Storage.File?, _ header: SegmentHeader, _ slot: Int
  ) -> Bool {
    if seal.span.lastSequence > state.applied.sequence {
      // A part of it would be indexed twice.
      guard seal.span.firstSequence > state.applied.sequence, let file,
        let sidecar = try? SidecarIndex.open(file, of: header, diskCount: state.diskCount)
      else { return false }
      sidecars[slot] = sidecar
    }
    seals[slot] = seal
    return true
  }

  /// A file that was cut short is read, and its damage found.
  private func hasByte(before end: Int, in file: Storage.File) -> Bool {
    var byte: UInt8 = 0
    let count = unsafe withUnsafeMutableBytes(of: &byte) {
      try? unsafe file.read(into: $0, at: UInt64(end - 1))
    }
    return count == 1
  }

  private func scan(_ slot: Int, _ header: SegmentHeader) throws(JournalError) -> SegmentFacts {
    var facts = SegmentFacts(slot: slot, header: header)
    let file = slots[slot].file
    if isUnsure { file.forgetCached() }
    do throws(Errno) {
      var scanner = SegmentScanner(file, header: header, limit: Int(header.segmentByteCount))
      #if MUTANTS
        if Mutant.skipChecksum.isOn {
          scanner = .init(
            file, header: header, limit: Int(header.segmentByteCount), depth: .headersOnly)
        }
      #endif
      while let record = try scanner.next() { facts.lastTimestamp = record.header.timestamp }
      facts.recordCount = scanner.recordCount
      facts.end = scanner.position
    } catch { throw .storage(error, doing: "reading \(slots[slot].name)") }
    return facts
  }
}

extension SegmentFacts {
  fileprivate init(slot: Int, header: SegmentHeader? = nil) {
    self.init(slot: slot, header: header, recordCount: 0, end: 0, lastTimestamp: .zero)
  }
}
