import Handover
import SystemIO

extension ControlResponder {
  /// The request in a line that asks for a hand-over; nil for every other line.
  func handoverRequest(in line: [UInt8]) -> ControlRequest? {
    guard let request = try? ControlJSON.decode(ControlRequest.self, from: line),
      request.command == TakeOver.command
    else { return nil }
    return request
  }

  /// The reply, and whether it is an offer: then a channel follows on the connection.
  ///
  /// - Parameter peerUser: nil when the connection does not tell.
  func handoverReply(
    to request: ControlRequest, peerUser: UInt32?
  ) -> (reply: [UInt8], isOffered: Bool) {
    do {
      guard let peerUser else {
        throw ControlError.refused("a site is handed over through a unix socket only")
      }
      // Whoever gets it has the guests' disks in his hands.
      guard peerUser == SystemInfo.user || peerUser == 0 else {
        throw ControlError.refused(
          "the site runs as user \(SystemInfo.user) and is not handed over to user \(peerUser)")
      }
      guard let version = HandoverOffer.version(for: request.versions ?? []) else {
        throw ControlError.refused(
          "tapline \(taplineVersion), which runs, hands over in version "
            + "\(HandoverLimits.versions.upperBound) and not in one that the new program takes; "
            + "stop the site and start it instead")
      }
      return (try success(site.handoverOffer(version: version)), true)
    } catch { return (Self.failure("\(error)"), false) }
  }
}
