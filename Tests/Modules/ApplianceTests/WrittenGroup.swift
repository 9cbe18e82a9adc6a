import BlockModel
import Configuration
import Journal
import SystemIO
import TestSupport
import Testing
import Volume

@testable import Appliance

/// A following group `g` of one disk whose journal has several segments, and what the disk was
/// after each of its records. It is closed but for `serve`.
final class WrittenGroup {
  static let size = 256 << 10
  private static let segmentSize = 64 << 10

  /// By sequence number; the first is that of a group without records.
  private(set) var images: [[UInt8]] = [[UInt8](repeating: 0, count: WrittenGroup.size)]
  /// The first record of each segment.
  private(set) var firsts: [Int] = []
  private let scratch: ScratchDirectory?
  private let path: String
  private let start: Timestamp
  private let configuration: GroupConfiguration
  /// What its state was before it was parked, by the branch's name.
  private var former: [String: JournalState] = [:]

  var lastImage: [UInt8] { images[images.count - 1] }
  var folder: String { "\(path)/data/g" }
  func branch(_ name: String) -> String { Branch.folder(name, ofGroupIn: folder) }

  /// Record `index` has it.
  func instant(_ index: Int) -> Timestamp {
    Timestamp(rawValue: start.rawValue + UInt64(index) * 1_000_000_000)
  }

  func mark(_ index: Int) -> JournalState.Mark {
    index == 0 ? .origin : .init(SequenceNumber(UInt64(index)), instant(index))
  }

  /// Nothing follows at or before it.
  var promised: Timestamp { instant(images.count + 4) }

  /// - Parameters:
  ///   - path: nil: a folder of its own.
  ///   - isAhead: its owner's clock was: what is stamped here comes right behind what there is.
  init(in path: String? = nil, isAhead: Bool = false) throws {
    scratch = path == nil ? try ScratchDirectory() : nil
    self.path = path ?? scratch?.path ?? ""
    let now = SystemClock.realtimeNanoseconds()
    let hour: UInt64 = 3_600_000_000_000
    start = Timestamp(nanoseconds: isAhead ? now + hour : now - hour)
    let yaml = """
      site: west
      data: \(self.path)/data
      listen: { nbd: ["tcp:127.0.0.1:0"], link: "tcp:127.0.0.1:0" }
      groups:
        - name: g
          role: recovery
          peer: { site: east }
          history: 2h
          journal: { capacity: 2M, segment_size: 64K }
          disks: [{ name: disk, size: 256K, backing: "file:\(self.path)/disk.raw" }]
      """
    let site = try SiteConfiguration(yaml: Array(yaml.utf8), file: "site.yaml")
    configuration = site.groups[0]
    try File(creating: "\(self.path)/disk.raw").truncate(to: UInt64(Self.size))
    try write()
  }

  private func write() throws {
    let storage = try FolderStorage(path: folder)
    var random = SystemEntropy()
    var state = JournalState(
      groupName: "g", group: .random(using: &random),
      disks: [.init(name: "disk", byteCount: UInt64(Self.size))], baseline: .complete)
    state.historyStart = instant(0)
    let journal = Journal(
      storage: storage,
      options: .init(segmentByteCount: Self.segmentSize, capacityByteCount: 2 << 20),
      state: state, recovered: try JournalRecovery(storage, state: state),
      continuesLastSegment: true)
    let record = PageBuffer(byteCount: 16 << 10)
    // The last segment is full, too.
    for index in 1...48 {
      while let (slot, name) = journal.slotToCreate() {
        journal.slotCreated(slot, try storage.create(name, byteCount: Self.segmentSize))
      }
      let (count, offset) = (7000 + index * 11, (index * 9973) % (Self.size - 8000))
      var image = images[index - 1]
      for place in offset..<offset + count { image[place] = UInt8(truncatingIfNeeded: index) }
      images.append(image)
      for place in 0..<count {
        unsafe record.bytes[RecordHeader.byteCount + place] = UInt8(truncatingIfNeeded: index)
      }
      try unsafe journal.append(
        .write, disk: DiskNumber(0), offset: UInt64(offset), length: UInt32(count),
        now: instant(index), record: record.base)
      try journal.commit()
      if let first = journal.newestSegment?.firstSequence.rawValue, firsts.last != Int(first) {
        firsts.append(Int(first))
      }
      try sync(journal)
    }
    state.ownership = Ownership(duty: .following, term: 1, configured: .following)
    state.durable = journal.durable
    state.promise = Promise(given: promised)
    try JournalStateFile.create(in: storage).write(state, generation: 1)
  }

  private func sync(_ journal: SiteJournal) throws {
    if let job = journal.syncJob() {
      try job.run()
      journal.syncCompleted(job)
    }
    while let job = journal.sidecarJob() { journal.sidecarWritten(try job.run()) }
  }

  // MARK: Its files

  func state(_ change: (inout JournalState) -> Void = { _ in }) throws -> JournalState {
    let file = JournalStateFile(try File(opening: "\(folder)/state", .readWrite))
    guard case .state(var state, let generation) = try file.read() else {
      throw RigError("no state")
    }
    change(&state)
    try file.write(state, generation: generation + 1)
    return state
  }

  func record(_ name: String) throws -> BranchRecord? {
    try BranchRecord.read(from: branch(name)) { _ in }
  }

  private func record(
    _ name: String, _ kind: BranchRecord.Kind, at index: Int
  ) throws -> BranchRecord {
    var random = SystemEntropy()
    return BranchRecord(
      name: name, identity: .random(using: &random), group: try state().group,
      instant: instant(index), created: instant(images.count), expiry: nil, byteLimit: 1 << 30,
      segmentByteCount: UInt64(Self.segmentSize), user: "", note: "",
      disks: [.init(number: DiskNumber(0), name: "disk", byteCount: UInt64(Self.size))],
      kind: kind)
  }

  func makeTest(_ name: String, at index: Int) throws -> BranchRecord {
    let record = try record(name, .test, at: index)
    let storage = try FolderStorage(path: branch(name))
    try SiteOverlay.createLasting(
      Branch.savedName, in: storage, identity: record.identityBytes)
    try record.write(to: branch(name))
    return record
  }

  // MARK: The exchange

  /// - Returns: true: so many steps are all.
  @discardableResult
  func park(
    after last: Int, as name: String, isApart: Bool = false, byteLimit: UInt64 = 1 << 30,
    upTo count: Int = .max
  ) throws -> Bool {
    var record = try record(name, .parked, at: last)
    record.base = mark(last).timestamp
    record.isApart = isApart
    record.byteLimit = byteLimit
    let state = try state()
    if former[name] == nil { former[name] = state }
    let parking = try Parking(after: mark(last), of: state, in: folder, as: record) { _ in }
    for step in parking.steps.prefix(count) { try parking.perform(step) }
    return parking.steps.count <= count
  }

  /// All of it is applied.
  func apply() throws {
    try own(after: images.count - 1)
    try serve { _ in }
    #expect(try state().applied == mark(images.count - 1))
  }

  /// Follows another owner from there: its journal holds nothing.
  func follow(from last: Int) throws {
    let state = try state {
      $0.applied = mark(last)
      $0.applyTarget = mark(last)
      $0.durable = SequenceNumber(UInt64(last))
      $0.promise = Promise(given: instant(last))
      $0.historyStart = instant(last)
      $0.isClean = false
    }
    _ = try JournalRecovery(erasing: try FolderStorage(path: folder), state: state)
  }

  /// As after a failover.
  func own(after last: Int) throws {
    _ = try state {
      $0.ownership = Ownership(duty: .owning, term: 2, configured: .following)
      $0.durable = SequenceNumber(UInt64(last))
      $0.promise = Promise(given: instant(last))
      $0.isClean = false
    }
  }

  /// An owner begins a segment after that record, and is killed before it uses it.
  func beginSegment(after last: Int) throws {
    let state = try state()
    var lineage = state.lineage
    lineage.begin(after: mark(last), term: 2, replacingNewest: false)
    let number = UInt32(firsts.count { $0 <= last } + 1)
    let header = SegmentHeader(
      identity: SegmentIdentity(
        group: state.group, incarnation: try #require(lineage.newest), number: number),
      segmentByteCount: UInt32(Self.segmentSize),
      firstSequence: SequenceNumber(UInt64(last + 1)), firstTimestamp: instant(last + 1))
    let file = try File(creating: "\(folder)/segment-00099")
    try file.truncate(to: UInt64(Self.segmentSize))
    try unsafe header.encoded().withUnsafeBytes { try unsafe file.write($0, at: 0) }
  }

  func segmentFiles(in folder: String) throws -> [String] {
    try Directory.names(in: folder).filter {
      JournalRecovery<FolderStorage>.slot(named: $0) != nil
    }
  }

  /// Segment files that nothing was written to, where there are none of these names.
  func makeFiles(_ names: [String]) throws {
    let storage = FolderStorage(existing: folder)
    for name in names where !Directory.exists("\(folder)/\(name)") {
      _ = try storage.create(name, byteCount: Self.segmentSize)
    }
  }

  /// - Returns: true: so many steps are all.
  @discardableResult
  func restore(_ name: String, after last: Int, upTo count: Int = .max) throws -> Bool {
    let restoring = try Restoring(
      after: mark(last), of: try state(), in: folder, from: name
    ) { _ in }
    for step in restoring.steps.prefix(count) { try restoring.perform(step) }
    guard restoring.steps.count <= count else { return false }
    _ = try state { [former] present in
      guard var state = former[name] else { return }
      (state.applied, state.applyTarget) = (present.applied, present.applyTarget)
      state.oldestSegment = min(state.oldestSegment, present.oldestSegment)
      present = state
    }
    return true
  }

  // MARK: Changing hands

  func exchange<Result>(_ body: (inout OwnershipExchange) throws -> Result) throws -> Result {
    var exchange = try OwnershipExchange(configuration, in: folder)
    defer { exchange.end() }
    return try body(&exchange)
  }

  /// A rollback that drops what was written after that record, until a crash.
  ///
  /// - Returns: true: so many steps are all, but that the state file is told.
  func dropAndRestore(_ name: String, after last: Int, upTo count: Int) throws -> Bool {
    let state = try state { if $0.fork?.stage == .pending { $0.returns(parking: "") } }
    if count == 0 { return false }
    _ = try JournalRecovery(
      FolderStorage(existing: folder), state: state, cut: mark(last).sequence)
    let restoring = try Restoring(after: mark(last), of: state, in: folder, from: name) { _ in }
    for step in restoring.steps.prefix(count - 1) { try restoring.perform(step) }
    return restoring.steps.count < count
  }

  // MARK: Opening

  func serve(_ body: (GroupHost) throws -> Void) throws {
    let loop = try EventLoop(name: "loop")
    var configuration = configuration
    // An owner keeps what its peer lacks, and there is none.
    if try state().ownership.duty == .owning { configuration.peers = [] }
    let host = GroupHost(
      configuration, origin: nil, loop: loop, files: InheritedFiles(),
      .init(
        site: "west", dataDirectory: "\(path)/data", log: { _ in }, loops: LoopShares([loop])))
    defer { host.end() }
    try host.serve()
    for branch in host.branches {
      if let refusal = branch.firstRefusal() { throw refusal }
      try branch.noteUse()
      branch.serves()
      if let group = branch.group { loop.post { group.begin() } }
      branch.release()
    }
    try body(host)
  }

  /// Writes all over the disk of a group that owns, more than its journal holds.
  ///
  /// - Returns: what the disk is then, when it was `image`.
  func overrun(_ host: GroupHost, _ image: [UInt8]) throws -> [UInt8] {
    try write(500, by: host, over: image)
  }

  /// - Returns: what the disk is then, when it was `image`.
  func write(_ count: Int, by host: GroupHost, over image: [UInt8]) throws -> [UInt8] {
    var image = image
    let group = try #require(host.group)
    for index in 0..<count {
      let (count, offset) = (5000, (index * 7919) % (Self.size - 5000))
      let byte = UInt8(truncatingIfNeeded: 0x80 + index % 100)
      for place in offset..<offset + count { image[place] = byte }
      try eventually("there is room") {
        group.loop.ask { $0(group.write(byte, count, at: offset)) } == true
      }
    }
    return image
  }

  /// The branch shows all instants from that record on, and can be written to by no name.
  func checkTail(of host: GroupHost, _ name: String, from last: Int) throws {
    let tail = try host.branchGroup(name)
    for index in last..<images.count {
      #expect(try tail.image(at: .at(instant(index))) == images[index], "record \(index)")
    }
    #expect(try tail.image(at: .latest) == lastImage)
    #expect(throws: ExportRefusal.self) {
      try tail.image(at: .at(Timestamp(rawValue: instant(last).rawValue - 1)))
    }
    let refusal = #expect(throws: ExportRefusal.self) {
      try ExportCatalog([host]).find("disk@\(name)", for: ClientIdentity())
    }
    #expect(refusal?.message.contains("disk@\(name)@latest") == true)
    _ = try ExportCatalog([host]).find("disk@\(name)@latest", for: ClientIdentity())
  }

  /// Leaves no more room than that in the file system.
  func fill(_ path: String, leaving byteCount: Int) throws {
    let spare = try File(creating: "\(path)/spare")
    try spare.allocate(byteCount: byteCount)
    let filler = try File(creating: "\(path)/filler")
    var (size, step) = (0, 1 << 20)
    while step >= 4096 {
      do throws(Errno) {
        try filler.allocate(byteCount: size + step)
        size += step
      } catch { step /= 2 }
    }
    try Directory.remove("\(path)/spare")
  }
}

extension Group {
  /// False: there is no room. On the loop.
  fileprivate func write(_ byte: UInt8, _ count: Int, at offset: Int) -> Bool {
    guard let tap, journal?.hasRoom(payloadByteCount: count) == true else { return false }
    var record = [UInt8](repeating: 0, count: RecordHeader.byteCount)
    record += [UInt8](repeating: byte, count: count)
    return unsafe record.withUnsafeMutableBytes { bytes in
      guard let start = bytes.baseAddress else { return false }
      do throws(JournalError) {
        try unsafe tap.stage(
          .write, disk: DiskNumber(0), offset: UInt64(offset), length: UInt32(count),
          now: readClock(), record: start)
      } catch { fail("\(error)") }
      return commit()
    }
  }
}

extension GroupHost {
  func image(at instant: InstantExpression) throws -> [UInt8] {
    guard let group else { throw RigError("\(name) is not open: \(closedReason)") }
    let opened = Monitor<Result<OpenedView, ExportRefusal>?>(nil)
    group.loop.post {
      group.openView(instant) { result in opened.update { $0 = result } }
    }
    let view = try opened.wait { $0 }.get()
    defer { view.release() }
    var bytes = [UInt8](repeating: 0xEE, count: WrittenGroup.size)
    try unsafe bytes.withUnsafeMutableBytes {
      try unsafe view.view.read(disk: DiskNumber(0), at: 0, into: $0)
    }
    return bytes
  }

  func branchGroup(_ name: String) throws -> GroupHost {
    guard let branch = branchHost(named: name) else { throw RigError("no branch \(name)") }
    guard branch.group != nil else { throw RigError("\(name): \(branch.closedReason)") }
    return branch
  }
}
