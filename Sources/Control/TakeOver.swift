import Appliance
import Configuration
import Handover
import SystemIO

/// The side of a hand-over that takes: asks a running site at its control address, and receives
/// what it lets go of. Every call blocks, within `HandoverLimits`. One thread uses it.
///
/// Whatever it throws, and whenever: the running site goes on, unless `confirm` had returned.
public final class TakeOver {
  /// Of the control protocol.
  static let command = "hand-over"

  /// Of the running program.
  public let program: String
  private let channel: HandoverChannel
  private var taker = HandoverChannel.Taker()

  private init(_ program: String, _ channel: HandoverChannel) {
    self.program = program
    self.channel = channel
  }

  /// Asks the site that runs with such a configuration; nil when none runs. Nothing is stopped yet
  /// when this throws, and it throws whenever the two do not fit each other.
  public static func begin(_ configuration: SiteConfiguration) throws -> TakeOver? {
    guard configuration.isInUse else { return nil }
    guard let address = configuration.listen.control, case .unix = address else {
      throw ControlError.refused("a running site is taken over through listen.control: unix:PATH")
    }
    let client = ControlClient(address)
    let socket = try client.connect()
    socket.setTimeouts(seconds: Int(HandoverLimits.askMilliseconds / 1000))
    let request = ControlRequest(
      command: command, versions: Array(HandoverLimits.versions))
    let offer: HandoverOffer = try client.perform(request, over: socket)
    let next = configuration.handoverOffer(version: offer.version)
    if let obstacle = offer.obstacle(to: next) {
      throw ControlError.refused("\(obstacle); stop the site and start it instead")
    }
    let channel = try HandoverChannel(socket)
    try channel.send(.begin, deadline: HandoverChannel.deadline(milliseconds: 1_000))
    return TakeOver(offer.program, channel)
  }

  /// Returns when the old process stands still and has sent everything.
  public func receive() throws(HandoverError) -> HandoverChannel.Taker.Inventory {
    while taker.state == .receiving { try receiveNext() }
    return taker.inventory
  }

  /// Tells that this process could go on at once. When this returns, the site is its own.
  public func confirm() throws(HandoverError) {
    taker.confirm()
    try channel.send(.confirmed, deadline: HandoverChannel.deadline(milliseconds: 1_000))
    while taker.state == .confirmed { try receiveNext() }
  }

  private func receiveNext() throws(HandoverError) {
    let (message, attachment) = try channel.receive(
      deadline: HandoverChannel.deadline(milliseconds: HandoverLimits.patienceMilliseconds))
    try taker.receive(message, attachment)
  }

  /// Before `confirm`: lets the running site go on at once, and tells it why.
  public func refuse(_ reason: String) {
    try? channel.send(
      .refused(reason: reason), deadline: HandoverChannel.deadline(milliseconds: 1_000))
  }
}
