import Replication
import SystemIO

/// Where peers arrive: the listener, and those that have not said yet which group they send.
/// Confined to its loop's thread, but for what is immutable.
final class LinkDoor: @unchecked Sendable {
  /// The open group that a peer names; throws in words for the peer when there is none.
  typealias GroupFinder = @Sendable (_ name: String) throws(LinkError) -> Group

  private static let greeterLimit = 64

  /// The name of this site.
  let site: String
  let loop: EventLoop
  /// Nil: peers come in the clear.
  let trust: SiteTrust?
  /// What peers may cause as often as they like.
  let log: ClientLog
  private let greetingNanoseconds: UInt64
  private let find: GroupFinder
  private var listener: Listener?
  private var greeters = Roster<LinkGreeter>()

  /// - Parameters:
  ///   - greetingNanoseconds: how long a peer may take to say which group it sends.
  ///   - find: called on the loop.
  init(
    site: String, loop: EventLoop, trust: SiteTrust?, greetingNanoseconds: UInt64,
    log: @escaping @Sendable (String) -> Void,
    find: @escaping GroupFinder
  ) {
    self.site = site
    self.loop = loop
    self.trust = trust
    self.greetingNanoseconds = greetingNanoseconds
    self.log = ClientLog(log)
    self.find = find
  }

  /// On the loop.
  func open(_ socket: Socket) {
    let listener = Listener(socket, loop: loop, log: log.note) { [unowned self] in greet($0) }
    self.listener = listener
    listener.start()
    loop.every(milliseconds: 1000, for: self) { [unowned self] in expire() }
  }

  private func greet(_ peer: Socket) {
    if greeters.count >= Self.greeterLimit {
      greeters.members.min { $0.startNanoseconds < $1.startNanoseconds }?.close()
    }
    let greeter = LinkGreeter(socket: peer, door: self)
    greeters.add(greeter)
    greeter.begin()
  }

  private func expire() {
    let now = SystemClock.monotonicNanoseconds()
    for greeter in greeters.members where now - greeter.startNanoseconds > greetingNanoseconds {
      greeter.close()
    }
    listener?.tryAgain()
    log.endPeriods()
  }

  func group(named name: String) throws(LinkError) -> Group { try find(name) }

  func forget(_ greeter: LinkGreeter) { greeters.remove(greeter) }

  // MARK: On the way to another process

  /// Accepts nobody until `resume`: who comes now waits to be accepted by whoever has the listener
  /// then.
  func stopAccepting() { listener?.stop() }

  func resume() { listener?.start() }

  /// Ends everything here.
  func close() {
    listener?.stop()
    listener = nil
    for greeter in greeters.members { greeter.close() }
  }
}
