import BlockModel
import SystemIO

/// The state of a group on disk: two copies in one file, written in turn, so that a torn write
/// leaves the other. The one with the higher generation and a right checksum holds.
///
/// A copy is 256 KiB: `TAPLSTAT`, format version (32 bits), generation (64), byte count of the
/// encoded state (32), CRC-32C in standard form of the encoded state (32), then the state itself:
/// the fields of `JournalState` in the order of `encode`, big-endian.
public final class JournalStateFile<File: JournalFile>: Sendable {
  public static var name: String { "state" }
  /// What it was before a fork that may be taken back.
  public static var nameBeforeFork: String { "state-before-fork" }
  static var copyByteCount: Int { 256 << 10 }
  static var magic: UInt64 { 0x5441_504C_5354_4154 }  // "TAPLSTAT"
  public static var version: UInt32 { 10 }

  private let file: File

  public init(_ file: File) { self.file = file }

  public static func create<Storage: JournalStorage>(
    _ name: String = JournalStateFile.name, in storage: Storage
  ) throws(Errno) -> JournalStateFile where Storage.File == File {
    JournalStateFile(try storage.create(name, byteCount: 2 * copyByteCount))
  }

  /// What is read from here on is on the disk. Before a process takes the file over: a kill may
  /// have left in memory what the disk does not have yet, and a failed sync what it never will. The
  /// next write goes over the other copy, and a power cut then leaves neither. Blocks.
  public func settle() throws(Errno) {
    file.forgetCached()
    try file.syncData()
  }

  public enum Reading: Equatable, Sendable {
    case state(JournalState, generation: UInt64)
    /// Neither copy was ever written.
    case blank
    /// Something is there and none of it verifies.
    case damaged
    case otherVersion(UInt32)
  }

  /// Whether the copy that was written before or after the one that `read` finds is torn, damaged
  /// or overwritten. What is found may then lack the last change. Blocks.
  public func lacksCopy(beside generation: UInt64) throws(Errno) -> Bool {
    for copy in 0..<2 {
      switch try read(copy: copy) {
      case .state(_, generation &- 1): return false
      case .blank where generation == 1: return false
      default: break
      }
    }
    return true
  }

  private func read(copy: Int) throws(Errno) -> Reading {
    var bytes = [UInt8](repeating: 0, count: Self.copyByteCount)
    let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Int, Errno> in
      do throws(Errno) {
        return .success(try unsafe file.read(into: buffer, at: UInt64(copy * buffer.count)))
      } catch { return .failure(error) }
    }
    _ = try result.get()
    return Self.decode(bytes)
  }

  /// Blocks.
  public func read() throws(Errno) -> Reading {
    var best: Reading = .blank
    for copy in 0..<2 {
      let reading = try read(copy: copy)
      switch (best, reading) {
      // Written last, by another program: what stands beside it is out of date.
      case (.otherVersion, _): break
      case (_, .otherVersion): best = reading
      case (.state(_, let old), .state(_, let new)) where new > old: best = reading
      case (.state, _): break
      case (_, .blank): break
      default: best = reading
      }
    }
    return best
  }

  /// Whether its disks have their place, with names and paths that may be long, and beside them
  /// whatever else it comes to hold: a group whose state once fits is never without place for a
  /// start more, a gap or a peer. Only another disk, or a longer path, is to be asked about again.
  public static func fits(_ state: JournalState) -> Bool {
    var bare = state
    bare.lineage = Lineage()
    bare.followers = []
    bare.gaps = []
    (bare.fork, bare.fences) = (nil, [])
    bare.lack.before = ""
    return encode(bare).count + JournalState.listByteLimit <= bodyByteLimit
  }

  static var bodyByteLimit: Int { copyByteCount - headerByteCount }
  private static var headerByteCount: Int { 28 }

  /// Durable when it returns. Blocks; one writer at a time. `generation` grows by one each time.
  /// Throws `Errno.overflow`, and changes nothing, where the state exceeds its copy.
  public func write(_ state: JournalState, generation: UInt64) throws(Errno) {
    let body = Self.encode(state)
    guard body.count <= Self.bodyByteLimit else { throw .overflow }
    var encoder = WireEncoder()
    encoder.put(Self.magic)
    encoder.put(Self.version)
    encoder.put(generation)
    encoder.put(UInt32(body.count))
    unsafe encoder.put(body.withUnsafeBytes { unsafe CRC32C.standard($0) })
    let header = encoder.bytes
    let all = header + body
    let offset = UInt64(Int(generation % 2) * Self.copyByteCount)
    let result = unsafe all.withUnsafeBytes { buffer -> Result<Void, Errno> in
      do throws(Errno) { return .success(try unsafe file.write(buffer, at: offset)) } catch {
        return .failure(error)
      }
    }
    try result.get()
    try file.syncData()
  }

  private static func decode(_ bytes: [UInt8]) -> Reading {
    if bytes.allSatisfy({ $0 == 0 }) { return .blank }
    var decoder = WireDecoder(bytes)
    do {
      guard try decoder.take(UInt64.self) == magic else { return .damaged }
      let version = try decoder.take(UInt32.self)
      let generation = try decoder.take(UInt64.self)
      let count = Int(try decoder.take(UInt32.self))
      let sum = try decoder.take(UInt32.self)
      guard version == Self.version else { return .otherVersion(version) }
      let start = copyByteCount - decoder.remaining
      guard count <= decoder.remaining else { return .damaged }
      let body = Array(bytes[start..<start + count])
      guard unsafe body.withUnsafeBytes({ unsafe CRC32C.standard($0) }) == sum else {
        return .damaged
      }
      return .state(try decodeState(body), generation: generation)
    } catch {
      return .damaged
    }
  }

  private static func encode(_ state: JournalState) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(state.groupName)
    encoder.put(state.group.high)
    encoder.put(state.group.low)
    encoder.put(state.folder)
    encoder.put(state.ownership.duty.rawValue)
    encoder.put(state.ownership.configured.rawValue)
    encoder.put(state.ownership.term)
    encoder.put(state.ownership.highestTerm)
    encoder.put(state.ownership.isTaken ? UInt8(1) : 0)
    encoder.put(state.fork)
    encoder.put(state.fences)
    encoder.put(state.lineage)
    for mark in [state.applied, state.applyTarget] {
      encoder.put(mark.sequence.rawValue)
      encoder.put(mark.timestamp.rawValue)
    }
    encoder.put(state.durable.rawValue)
    encoder.put(UInt16(state.followers.count))
    for follower in state.followers {
      encoder.put(follower.site)
      encoder.put(follower.durable.rawValue)
      encoder.put(follower.isKept ? UInt8(1) : 0)
    }
    encoder.put(state.ownerDurable)
    encoder.put(baselineCode(state.baseline))
    encoder.put(state.copy.number)
    encoder.put(state.copy.stored)
    encoder.put(state.lack.list)
    encoder.put(state.lack.reached)
    encoder.put(state.lack.record.rawValue)
    encoder.put(state.lack.before)
    encoder.put(state.historyStart.rawValue)
    encoder.put(state.promise.through.rawValue)
    encoder.put(state.promise.reservedAt.rawValue)
    encoder.put(state.promise.monotonicNanoseconds)
    encoder.put(state.promise.boot)
    encoder.put(state.oldestSegment)
    encoder.put(state.isClean ? UInt8(1) : 0)
    encoder.put(state.nextDisk)
    encoder.put(whole: state.disks)
    encoder.put(UInt16(state.gaps.count))
    for gap in state.gaps {
      encoder.put(gap.from.rawValue)
      encoder.put(gap.to.rawValue)
    }
    return encoder.bytes
  }

  private static func decodeState(_ body: [UInt8]) throws -> JournalState {
    var decoder = WireDecoder(body)
    let name = try decoder.takeString()
    let group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
    var state = JournalState(groupName: name, group: group, disks: [], baseline: .missing)
    state.folder = try decoder.takeString()
    state.ownership = try takeOwnership(&decoder)
    state.fork = try decoder.takeFork()
    state.fences = try decoder.takeFences()
    state.lineage = try decoder.takeLineage()
    state.applied = try takeMark(&decoder)
    state.applyTarget = try takeMark(&decoder)
    state.durable = SequenceNumber(try decoder.take())
    for _ in 0..<(try decoder.take(UInt16.self)) {
      state.followers.append(
        .init(
          site: try decoder.takeString(), durable: SequenceNumber(try decoder.take()),
          isKept: try decoder.take(UInt8.self) == 1))
    }
    state.ownerDurable = try decoder.takeOwnerMark()
    switch try decoder.take(UInt8.self) {
    case 0: state.baseline = .missing
    case 1: state.baseline = .copying
    case 2: state.baseline = .complete
    case 3: state.baseline = .reconciling
    default: throw WireDecoder.Failure.tooShort
    }
    state.copy = .init(number: try decoder.take(), stored: try decoder.take())
    state.lack = .init(
      list: try decoder.take(), reached: try decoder.takePosition(),
      by: SequenceNumber(try decoder.take()), before: try decoder.takeString())
    state.historyStart = Timestamp(rawValue: try decoder.take())
    state.promise = Promise(
      through: Timestamp(rawValue: try decoder.take()),
      reservedAt: Timestamp(rawValue: try decoder.take()),
      monotonicNanoseconds: try decoder.take(), boot: try decoder.take())
    state.oldestSegment = try decoder.take()
    state.isClean = try decoder.take(UInt8.self) == 1
    state.nextDisk = try decoder.take()
    state.disks = try decoder.takeWholeDisks()
    for _ in 0..<(try decoder.take(UInt16.self)) {
      state.gaps.append(
        .init(
          from: Timestamp(rawValue: try decoder.take()),
          to: Timestamp(rawValue: try decoder.take())))
    }
    return state
  }

  private static func takeOwnership(_ decoder: inout WireDecoder) throws -> Ownership {
    let codes: [UInt8] = [try decoder.take(), try decoder.take()]
    let duties = codes.compactMap(Duty.init).filter { $0 != .plain }
    guard duties.count == 2 else { throw WireDecoder.Failure.tooShort }
    return Ownership(
      duty: duties[0], term: try decoder.take(), configured: duties[1],
      highestTerm: try decoder.take(), isTaken: try decoder.take(UInt8.self) == 1)
  }

  private static func takeMark(_ decoder: inout WireDecoder) throws -> JournalState.Mark {
    .init(SequenceNumber(try decoder.take()), Timestamp(rawValue: try decoder.take()))
  }

  private static func baselineCode(_ baseline: JournalState.Baseline) -> UInt8 {
    switch baseline {
    case .missing: 0
    case .copying: 1
    case .complete: 2
    case .reconciling: 3
    }
  }
}
