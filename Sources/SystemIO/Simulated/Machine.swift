/// A simulated computer: a disk, a clock, processes. Its disk outlives its processes.
public final class Machine {
  public let name: String
  public var faults = DiskFaults()
  /// What its CLOCK_REALTIME is ahead of the simulation's; may jump.
  public var clockOffsetNanoseconds: Int64 = 0
  /// Changes with each power cut.
  private(set) var bootIdentifier: UInt64 = 1
  /// Every write to a file, when it has been done and before the caller goes on.
  public var onWrite: ((_ path: String, _ offset: UInt64, _ bytes: [UInt8]) -> Void)?
  /// Every read of a file that waits for the disk.
  public var onRead: ((_ path: String, _ offset: UInt64, _ count: Int) -> Void)?
  /// Of some files, beside `faults`.
  public var fileFaults = FileFaults()
  /// What could not be written back leaves memory at once.
  public var forgetsLost = false
  /// A sync of the file has failed, or what was written back without one.
  public var onSyncError: ((_ path: String) -> Void)?
  public private(set) var processes: [Process] = []

  unowned let simulation: Simulation
  var files = FileTree()

  init(_ name: String, _ simulation: Simulation) {
    self.name = name
    self.simulation = simulation
  }

  /// Starts a process whose first thread runs `main`. The process ends with `main`.
  @discardableResult
  public func start(_ name: String, _ main: @escaping () -> Void) -> Process {
    let process = Process("\(self.name)/\(name)", self)
    processes.removeAll { !$0.isAlive }
    processes.append(process)
    simulation.add(
      Fiber("main", process) {
        main()
        process.end()
      })
    return process
  }

  /// Ends all processes at once, and loses what was not synced: of every sector any of the versions
  /// since its last sync, of every folder's changes the last ones.
  ///
  /// - Parameter keepsSome: else all of it is lost.
  public func cutPower(keepsSome: Bool = true) {
    simulation.trace("\(name): power cut")
    for process in processes { process.end() }
    bootIdentifier += 1
    files.losePower(keepsSome: keepsSome, &simulation.random)
  }

  /// The system writes a file back by itself, at once.
  public func writeBack(_ path: String) {
    guard let inode = files.inode(path) else { return }
    inode.complete(inode.snapshot())
  }

  /// Nanoseconds since 1970, as its clock shows them.
  public var realtimeNanoseconds: UInt64 {
    UInt64(Int64(SystemCalls.epochNanoseconds + simulation.now) + clockOffsetNanoseconds)
  }

  // MARK: For faults and checks, past the system calls

  public func contents(of path: String) -> [UInt8]? { files.inode(path)?.allBytes }

  /// What a process reads that lets memory forget what counts as written.
  public func settledContents(of path: String) -> [UInt8]? { files.inode(path)?.settledBytes }

  /// Whether a file has these bytes, in pages of 4096.
  public func file(_ path: String, holds pages: [[UInt8]], byteCount: Int) -> Bool {
    files.inode(path)?.holds(pages, byteCount: byteCount) ?? false
  }

  public func fileNames() -> [String] { files.allPaths }

  /// A write-back failed, and whoever opens that file next is told.
  public var hasUntoldLoss: Bool { files.hasUntoldLoss }

  /// What its files take when none has holes.
  public var usedBytes: Int { files.byteCount }

  /// Bit rot, of bytes at rest. False, and nothing has happened, where there are none.
  public func flipBit(of path: String, at offset: UInt64, bit: UInt8) -> Bool {
    files.inode(path)?.flipBit(at: offset, bit: bit) ?? false
  }

  /// A misdirected write of long ago: the bytes of one sector lie over those of another. False, and
  /// nothing has happened, where either is not at rest.
  public func copySector(
    of source: String, at offset: UInt64, to target: String, at place: UInt64
  ) -> Bool {
    guard let source = files.inode(source), let target = files.inode(target) else { return false }
    return target.copySector(from: offset, of: source, to: place)
  }
}

/// How a machine's disk fails. Probabilities are those of one call.
public struct DiskFaults {
  public var readError = 0.0
  public var writeError = 0.0
  /// Of a sync, or of what is written back without one. After it, some of what was to be written is
  /// lost, though it may be readable for now.
  public var syncError = 0.0
  /// After a write, the system writes the file back by itself soon.
  public var writeBack = 0.0
  /// Reads that may not wait find nothing in memory.
  public var cacheMiss = 0.05
  /// A write takes only a part.
  public var shortWrite = 0.02
  public var syncNanoseconds: ClosedRange<UInt64> = 20_000...2_000_000
  /// Of what has little to be written, a sync may take as long as always.
  public var isQuick: (String) -> Bool = { _ in false }
  /// ENOSPC above it.
  public var capacityBytes = Int.max
  /// Files that errors may happen to.
  public var applies: (String) -> Bool = { _ in true }

  public init() {}
}

/// A simulated process: descriptors and threads.
public final class Process {
  public let name: String
  public let machine: Machine
  public private(set) var isAlive = true
  var descriptors: [OpenObject?] = [nil, nil, nil]

  init(_ name: String, _ machine: Machine) {
    self.name = name
    self.machine = machine
  }

  /// As `kill -9`: what its threads held is gone, the disk keeps what was written.
  public func kill() {
    guard isAlive else { return }
    machine.simulation.trace("\(name): killed")
    end()
  }

  /// Does not return when one of its own threads calls it.
  func end() {
    guard isAlive else { return }
    isAlive = false
    let open = descriptors
    descriptors = []
    for object in open { object?.closed(in: self) }
    machine.simulation.noteEnd()
    if machine.simulation.currentFiber?.process === self {
      machine.simulation.yieldToScheduler()
    }
  }

  // MARK: Descriptors

  func install(_ object: OpenObject) -> Int32 {
    object.references += 1
    if let free = descriptors.dropFirst(3).firstIndex(where: { $0 == nil }) {
      descriptors[free] = object
      return Int32(free)
    }
    descriptors.append(object)
    return Int32(descriptors.count - 1)
  }

  func object(_ descriptor: Int32) -> OpenObject? {
    let index = Int(descriptor)
    return index >= 0 && index < descriptors.count ? descriptors[index] : nil
  }

  func close(_ descriptor: Int32) -> Bool {
    guard let object = object(descriptor) else { return false }
    descriptors[Int(descriptor)] = nil
    object.closed(in: self)
    return true
  }
}

/// What a descriptor stands for.
class OpenObject {
  var references = 0
  /// O_NONBLOCK and the like.
  var flags: Int32 = 0

  /// Of readiness, for poll and epoll.
  var isReadable: Bool { false }
  var isWritable: Bool { false }
  var isBroken: Bool { false }

  final func closed(in process: Process) {
    references -= 1
    guard references == 0 else { return }
    for case let poller as OpenPoller in process.descriptors { poller.forget(self) }
    lastClose()
    process.machine.simulation.noteChange()
  }

  func lastClose() {}
}

/// `eventfd`.
final class OpenEvent: OpenObject {
  var count: UInt64 = 0
  override var isReadable: Bool { count > 0 }
  override var isWritable: Bool { true }
}

/// `epoll`, level-triggered.
final class OpenPoller: OpenObject {
  struct Interest {
    let descriptor: Int32
    let object: OpenObject
    var token: UInt64
    var events: UInt32
  }

  private(set) var interests: [Interest] = []

  func index(_ descriptor: Int32) -> Int? {
    interests.firstIndex { $0.descriptor == descriptor }
  }

  func add(_ interest: Interest) { interests.append(interest) }
  func remove(at index: Int) { interests.remove(at: index) }

  func change(at index: Int, _ token: UInt64, _ events: UInt32) {
    interests[index].token = token
    interests[index].events = events
  }

  func forget(_ object: OpenObject) { interests.removeAll { $0.object === object } }

  static func ready(_ interest: Interest) -> UInt32 {
    var ready: UInt32 = 0
    if interest.object.isReadable { ready |= Poller.Interest.readable.rawValue }
    if interest.object.isWritable { ready |= Poller.Interest.writable.rawValue }
    return ready & interest.events
      | (interest.object.isBroken ? Poller.Interest.closed.rawValue : 0)
  }

  override var isReadable: Bool { interests.contains { Self.ready($0) != 0 } }
}
