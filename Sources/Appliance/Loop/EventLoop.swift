import BlockModel
import Synchronization
import SystemIO

/// Something that waits for a descriptor. Confined to its loop's thread.
class EventHandler: @unchecked Sendable {
  fileprivate(set) var token: UInt64?
  /// When `alarm` is called; `.max`: not at all.
  fileprivate var alarmTime = UInt64.max
  fileprivate var isAlarmed = false

  /// Called when the descriptor is ready; at most once a turn.
  func ready(_ interest: Poller.Interest) {
    preconditionFailure("a handler must say what it does when it is ready")
  }

  /// Called at about the time that `EventLoop.setAlarm` was told, once.
  func alarm() {
    preconditionFailure("a handler must say what it does when its time has come")
  }

  /// Called in the turn after `EventLoop.resume`, also when the handler was removed meanwhile.
  func resumed() {
    preconditionFailure("a handler must say how it goes on")
  }
}

/// Something with work at the end of each turn in which it was touched: a group commits its batch
/// and sends the replies. Confined to its loop's thread.
class TurnParticipant: @unchecked Sendable {
  fileprivate(set) var isEnlisted = false

  func finishTurn() {
    preconditionFailure("a participant must say how it finishes a turn")
  }
}

/// One thread that owns its groups and connections wholly.
///
/// Concurrency model: everything registered here is touched by this thread alone; other threads
/// reach it only through `post`. A turn takes what has arrived on all descriptors, then lets each
/// participant finish (one journal write for all, one send a connection). Nothing in a turn blocks:
/// what may block goes to a worker, which posts the result back.
final class EventLoop: @unchecked Sendable {
  typealias Message = @Sendable () -> Void

  private struct Timer {
    let owner: ObjectIdentifier
    let periodNanoseconds: UInt64
    var due: UInt64
    let action: () -> Void
  }

  /// A function alone in generic memory would be wrapped, at the price of an allocation.
  private struct Entry {
    let message: Message
  }

  private let name: String
  private var poller: Poller
  private let wakeup: Wakeup
  private let mailbox = Mutex<[Entry]>([])
  /// Empty between turns: changes places with the mailbox, so both keep their memory.
  private var delivered: [Entry] = []
  private let isStopping = Atomic<Bool>(false)
  private var thread: Thread?
  /// `Thread.current` of the loop's thread; 0 while it has none.
  private let threadIdentity = Atomic<UInt>(0)

  private var handlers: [EventHandler?] = []
  private var generations: [UInt32] = []
  private var freeIndexes: [Int] = []
  private var participants: [TurnParticipant] = []
  private var resuming: [EventHandler] = []
  /// Empty between turns: changes places with `resuming`.
  private var resumedNow: [EventHandler] = []
  private var timers: [Timer] = []
  /// Those that have an alarm.
  private var alarmed: [EventHandler] = []

  /// NBD clients of all groups on this loop.
  var clientCount = 0
  /// Groups that the loop serves, or will. Set before it starts.
  var groupCount = 0

  /// The wall clock at the start of this turn.
  private(set) var now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
  /// The monotonic clock then, in nanoseconds: what durations and schedules are made of.
  private(set) var monotonicNow = SystemClock.monotonicNanoseconds()

  private static let wakeupToken = UInt64.max

  init(name: String) throws(Errno) {
    self.name = name
    poller = try Poller()
    wakeup = try Wakeup()
    try poller.add(wakeup.rawDescriptor, token: Self.wakeupToken, .readable)
  }

  func start() {
    thread = Thread(name: name) { [self] in
      threadIdentity.store(Thread.current, ordering: .releasing)
      while !isStopping.load(ordering: .acquiring) { turn() }
    }
  }

  /// Ends the thread after its current turn and waits for it. Not from the loop itself.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    wakeup.signal()
    thread?.join()
    thread = nil
    threadIdentity.store(0, ordering: .releasing)
    handlers.removeAll()
    resuming.removeAll()
    timers.removeAll()
    alarmed.removeAll()
  }

  /// Runs `message` on the loop's thread, in order. Any thread; does not block.
  func post(_ message: @escaping Message) {
    let wasEmpty = mailbox.withLock { messages in
      messages.append(Entry(message: message))
      return messages.count == 1
    }
    if wasEmpty { wakeup.signal() }
  }

  /// What is confined to a loop is touched by its thread, and by others only before that has
  /// started and after it has ended. Builds for tests, sanitizers and the simulator check it.
  @inline(__always)
  func assertIsCurrent() {
    assert(isCurrent, "what is confined to loop \(name) is touched by another thread")
  }

  private var isCurrent: Bool {
    let identity = threadIdentity.load(ordering: .acquiring)
    return identity == 0 || identity == Thread.current
  }

  // MARK: On the loop's thread

  func add(_ handler: EventHandler, _ socket: Socket, _ interest: Poller.Interest) throws(Errno) {
    assertIsCurrent()
    let index: Int
    if let free = freeIndexes.popLast() {
      index = free
    } else {
      index = handlers.count
      handlers.append(nil)
      generations.append(0)
    }
    // The generation tells an event of a closed handler from one of its successor in the slot.
    generations[index] &+= 1
    let token = UInt64(generations[index]) << 32 | UInt64(index)
    do throws(Errno) {
      try poller.add(socket.rawDescriptor, token: token, interest)
    } catch {
      freeIndexes.append(index)
      throw error
    }
    handlers[index] = handler
    handler.token = token
  }

  func setInterest(_ handler: EventHandler, _ socket: Socket, _ interest: Poller.Interest) {
    assertIsCurrent()
    guard let token = handler.token else { return }
    try? poller.modify(socket.rawDescriptor, token: token, interest)
  }

  func remove(_ handler: EventHandler, _ socket: Socket) {
    assertIsCurrent()
    guard let token = handler.token else { return }
    handler.token = nil
    try? poller.remove(socket.rawDescriptor)
    let index = Int(token & 0xFFFF_FFFF)
    handlers[index] = nil
    freeIndexes.append(index)
  }

  func enlist(_ participant: TurnParticipant) {
    assertIsCurrent()
    if participant.isEnlisted { return }
    participant.isEnlisted = true
    participants.append(participant)
  }

  /// Calls the handler's `resumed` in the next turn, which begins at once. The handler asks once.
  func resume(_ handler: EventHandler) {
    assertIsCurrent()
    resuming.append(handler)
  }

  /// Calls `action` about every `milliseconds`, until `cancelTimers` or the loop's end.
  func every(milliseconds: UInt64, for owner: AnyObject, _ action: @escaping () -> Void) {
    assertIsCurrent()
    let period = milliseconds * 1_000_000
    timers.append(
      Timer(
        owner: ObjectIdentifier(owner), periodNanoseconds: period,
        due: SystemClock.monotonicNanoseconds() + period, action: action))
  }

  /// Not from a timer.
  func cancelTimers(of owner: AnyObject) {
    assertIsCurrent()
    timers.removeAll { $0.owner == ObjectIdentifier(owner) }
  }

  /// Calls the handler's `alarm` at the time, of the monotonic clock, or soon after; `.max`: not at
  /// all. A handler has one alarm: this replaces an earlier time.
  func setAlarm(_ handler: EventHandler, at time: UInt64) {
    assertIsCurrent()
    handler.alarmTime = time
    if handler.isAlarmed || time == .max { return }
    handler.isAlarmed = true
    alarmed.append(handler)
  }

  private func turn() {
    let count = (try? poller.wait(timeoutMilliseconds: timeoutMilliseconds())) ?? 0
    now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    monotonicNow = SystemClock.monotonicNanoseconds()
    for index in 0..<count {
      let (token, ready) = poller.event(index)
      if token == Self.wakeupToken {
        wakeup.clear()
        continue
      }
      let slot = Int(token & 0xFFFF_FFFF)
      if let handler = handlers[slot], handler.token == token { handler.ready(ready) }
    }
    resumeHandlers()
    deliverMessages()
    runTimers()
    if !alarmed.isEmpty { ringAlarms() }
    finishParticipants()
  }

  private func resumeHandlers() {
    swap(&resuming, &resumedNow)
    for handler in resumedNow { handler.resumed() }
    resumedNow.removeAll(keepingCapacity: true)
  }

  private func deliverMessages() {
    mailbox.withLock { messages in swap(&delivered, &messages) }
    for entry in delivered { entry.message() }
    delivered.removeAll(keepingCapacity: true)
  }

  private func finishParticipants() {
    // Finishing may enlist others (a reply makes room, which resumes a connection).
    var index = 0
    while index < participants.count {
      let participant = participants[index]
      index += 1
      participant.isEnlisted = false
      participant.finishTurn()
    }
    participants.removeAll(keepingCapacity: true)
  }

  private func timeoutMilliseconds() -> Int32 {
    if !resuming.isEmpty { return 0 }
    let alarm = alarmed.lazy.map(\.alarmTime).min() ?? .max
    let due = min(timers.lazy.map(\.due).min() ?? .max, alarm)
    if due == .max { return -1 }
    let monotonic = SystemClock.monotonicNanoseconds()
    return due <= monotonic ? 0 : Int32(min((due - monotonic) / 1_000_000 + 1, 60_000))
  }

  private func runTimers() {
    for index in timers.indices where timers[index].due <= monotonicNow {
      timers[index].due = monotonicNow + timers[index].periodNanoseconds
      timers[index].action()
    }
  }

  private func ringAlarms() {
    let due = alarmed.filter { $0.alarmTime <= monotonicNow }
    for handler in due { handler.alarmTime = .max }
    alarmed.removeAll { handler in
      handler.isAlarmed = handler.alarmTime != .max
      return !handler.isAlarmed
    }
    for handler in due { handler.alarm() }
  }
}
