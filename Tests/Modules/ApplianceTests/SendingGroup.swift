import BlockModel
import Foundation
import Journal
import JournalTestSupport
import Replication
import Storage
import StorageTesting
import Synchronization
import SystemIO
import TestSupport

@testable import Appliance

/// A protected group without a loop of its own: a journal in a temporary folder, bases in memory,
/// the plain history, and a link sender that follows it.
final class SendingGroup {
  let diskByteCounts: [Int]
  let stores: [MemoryStore]
  let followers: Followers
  let storage: FolderStorage
  let options: Journal<FolderStorage>.Options
  private(set) var state: JournalState
  private(set) var journal: Journal<FolderStorage>
  private(set) var history: RecordHistory
  private(set) var sender: LinkSender<MemoryStore>?
  let log = Log()
  /// Of its links.
  private let loop: EventLoop
  let questions = Questions()
  let turns = Turns()
  private let memory = PageBuffer(byteCount: 1 << 20)
  private var now: UInt64 = 1_000_000

  init(diskByteCounts: [Int], segmentByteCount: Int = 16 << 10, segmentCount: Int = 64) throws {
    self.diskByteCounts = diskByteCounts
    stores = diskByteCounts.map { MemoryStore(byteCount: $0) }
    followers = Followers([(site: "west", whenFull: .block)])
    storage = try FolderStorage(path: NSTemporaryDirectory() + "tapline-link-\(UUID())")
    options = .init(
      segmentByteCount: segmentByteCount, capacityByteCount: segmentByteCount * segmentCount)
    state = JournalState(
      groupName: "shop", group: GroupIdentifier(high: 5, low: 6),
      disks: diskByteCounts.enumerated().map {
        .init(
          number: DiskNumber(UInt16($0.offset)), name: "disk\($0.offset)",
          byteCount: UInt64($0.element))
      }, baseline: .complete)
    state.isClean = false
    history = RecordHistory(diskByteCounts: diskByteCounts)
    journal = Journal(
      storage: storage, options: options, state: state,
      recovered: try JournalRecovery(storage, state: state), continuesLastSegment: true,
      followers: followers)
    loop = try EventLoop(name: "links")
    loop.start()
  }

  deinit {
    stopLink()
    questions.workers.finish()
    loop.stop()
    try? FileManager.default.removeItem(atPath: storage.path)
  }

  func write(_ operation: JournalTestSupport.Operation) throws {
    let payload = operation.payload
    while !journal.hasRoom(payloadByteCount: payload.count),
      let (slot, name) = journal.slotToCreate(isIdle: false)
    {
      journal.slotCreated(
        slot, try storage.create(name, byteCount: options.segmentByteCount))
    }
    now += 10
    unsafe (memory.base + RecordHeader.byteCount).copyMemory(
      from: payload, byteCount: payload.count)
    try unsafe journal.append(
      operation.kind, disk: operation.disk, offset: UInt64(operation.offset),
      length: UInt32(operation.length), now: Timestamp(rawValue: now), record: memory.base)
    try journal.commit()
    followers.signal.notify()
    history.append(operation, at: journal.newestTimestamp)
  }

  func write(_ count: Int, _ random: inout SeededGenerator) throws {
    for _ in 0..<count {
      try write(.random(&random, diskByteCounts: diskByteCounts, writeLimit: 3000))
    }
  }

  /// Writes a marker of a disk, for which there is room, and returns its bytes.
  func mark(_ change: DiskChange) throws -> [UInt8] {
    let payload = change.payload
    now += 10
    unsafe (memory.base + RecordHeader.byteCount).copyMemory(
      from: payload, byteCount: payload.count)
    try unsafe journal.append(
      .disk, disk: change.number, offset: 0, length: UInt32(payload.count),
      now: Timestamp(rawValue: now), record: memory.base)
    try journal.commit()
    return unsafe Array(memory.bytes.prefix(RecordHeader.byteCount + payload.count))
  }

  func closeInstants() throws {
    try journal.closeInstants(through: Timestamp(rawValue: now))
  }

  /// As if everything so far had been applied.
  func applyAll() throws {
    try journal.freezeActive()
    for (store, bytes) in zip(stores, history.last.disks) {
      try unsafe bytes.withUnsafeBytes { try unsafe store.write($0, at: 0) }
      try store.sync()
    }
    for (disk, count) in diskByteCounts.enumerated() {
      let all = Extent(start: 0, length: UInt64(count), source: .zeros)
      followers.note(
        DiskNumber(UInt16(disk)), try SealedExtentMap(checking: 1) { _ in all })
    }
    state.applied = .init(journal.appended, journal.newestTimestamp)
    state.applyTarget = state.applied
    journal.applyCompleted(through: journal.appended)
  }

  /// Loses power: what came after `sequence` is not on the disk any more. A new epoch begins.
  func losePower(keeping sequence: SequenceNumber) throws {
    stopLink()
    for segment in journal.segments(after: sequence, through: journal.stamped) {
      let first = segment.firstSequence
      if first > sequence {
        try overwrite(segment.file, at: 0)
        continue
      }
      var scanner = SegmentScanner(segment.file, header: segment.header, limit: segment.end)
      while let record = try scanner.next() {
        if record.sequence > sequence { try overwrite(segment.file, at: record.position) }
      }
    }
    try restart()
    history.truncate(after: sequence)
  }

  /// Damage costs it the newest segment, all of which is applied. Its number is given to the next.
  func loseNewestSegment() throws {
    stopLink()
    if let newest = journal.newestSegment { try overwrite(newest.file, at: 0) }
    try restart()
  }

  private func restart() throws {
    let recovered = try JournalRecovery(storage, state: state)
    state.beginIncarnation(after: .init(recovered.lastSequence, .zero))
    journal = Journal(
      storage: storage, options: options, state: state, recovered: recovered,
      continuesLastSegment: false, followers: followers)
  }

  private func overwrite(_ file: File, at position: Int) throws {
    try unsafe [UInt8](repeating: 0, count: 28).withUnsafeBytes {
      try unsafe file.write($0, at: UInt64(position))
    }
  }

  // MARK: Link

  var follower: Follower { followers.all[0] }

  func startLink(to endpoint: SocketAddress) {
    let sender = LinkSender(
      .init(
        endpoint: endpoint,
        hello: LinkHello(
          site: "east", receiver: "west", groupName: state.groupName, group: state.group,
          lineage: state.lineage,
          segmentByteCount: UInt32(options.segmentByteCount), disks: state.disks),
        catalog: journal.catalog, watermarks: journal.watermarks,
        reporter: follower.reporter,
        disks: SentDisks(
          state.disks.map {
            .init(number: $0.number, name: $0.name, store: stores[$0.number.index])
          }, next: state.nextDisk),
        clock: { [loop, turns] in
          turns.note(loop.monotonicNow)
          return SystemClock.monotonicNanoseconds()
        }, log: { [log] line in log.append(line) }),
      loop: loop, trust: nil, names: { [questions] in questions.submit($0) })
    sender.start()
    self.sender = sender
  }

  /// Waits until the loop has done what it was asked.
  func settle() { loop.perform {} }

  /// A link that waits to connect again need not.
  func hurry() { sender?.monitor.hurry() }

  func stopLink() {
    sender?.stop()
    sender?.finishReads()
    sender = nil
  }
}

/// How often a link looked at the clock in one turn of its loop: each time that it compresses.
final class Turns: Sendable {
  private let state = Mutex((turn: UInt64(0), count: 0, most: 0))

  var most: Int { state.withLock { $0.most } }

  func note(_ turn: UInt64) {
    state.withLock { state in
      state.count = state.turn == turn ? state.count + 1 : 1
      state.turn = turn
      state.most = max(state.most, state.count)
    }
  }
}

/// For the numbers of names: answered by others at once, or when the test says so.
final class Questions: Sendable {
  private struct Question { let ask: WorkerPool.Job }

  let workers = WorkerPool(name: "names", threadLimit: 2)
  private let held = Mutex<[Question]?>(nil)

  func hold() { held.withLock { $0 = [] } }

  func submit(_ question: @escaping WorkerPool.Job) {
    let isHeld = held.withLock { held in
      held?.append(Question(ask: question))
      return held != nil
    }
    if !isHeld { workers.submit(question) }
  }

  /// Answers those that were held, and returns how many there were.
  func release() -> Int {
    let questions = held.withLock { held in
      defer { held = nil }
      return held ?? []
    }
    for question in questions { question.ask() }
    return questions.count
  }
}

/// What a sender logged.
final class Log: Sendable {
  private let lines = Mutex<[String]>([])
  func append(_ line: String) { lines.withLock { $0.append(line) } }
  func contains(_ text: String) -> Bool { lines.withLock { $0.contains { $0.contains(text) } } }
}
