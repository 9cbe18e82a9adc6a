import Foundation
import Handover
import SystemIO
import Testing

@testable import Control

/// Proves who is offered a running site, and that the command does not disturb the others.
struct HandoverOfferingTests {
  private func reply(
    versions: [UInt16]?, peerUser: UInt32?
  ) throws -> (ControlReply<HandoverOffer>, isOffered: Bool) {
    let request = ControlRequest(command: "hand-over", versions: versions)
    let (line, isOffered) = ControlResponder(site: StandInSite())
      .handoverReply(to: request, peerUser: peerUser)
    return (try ControlJSON.decode(ControlReply<HandoverOffer>.self, from: line), isOffered)
  }

  @Test func `the same user and root are offered the site in a version that both speak`() throws {
    for user in [SystemInfo.user, 0] {
      let (reply, isOffered) = try reply(versions: [2, 7], peerUser: user)
      #expect(isOffered)
      #expect(reply.result?.version == 2)
    }
  }

  @Test func `nobody else is`() throws {
    let others: [([UInt16]?, UInt32?, String)] = [
      ([2], SystemInfo.user + 1, "is not handed over to user"),
      ([2], nil, "through a unix socket only"),
      ([9], 0, "hands over in version 2"), ([], 0, "hands over in version 2"),
      (nil, 0, "hands over in version 2"),
    ]
    for (versions, user, reason) in others {
      let (reply, isOffered) = try reply(versions: versions, peerUser: user)
      #expect(!isOffered)
      #expect(reply.error?.contains(reason) ?? false, "\(reply)")
    }
  }

  @Test func `a hand-over that is kept ends its connection and no other`() throws {
    let fixture = try ControlFixture()
    let socket = try fixture.client.connect()
    let offer: HandoverOffer = try fixture.client.perform(
      ControlRequest(command: "hand-over", versions: [2]), over: socket)
    #expect(offer.site == "east")
    let channel = try HandoverChannel(socket)
    let deadline = HandoverChannel.deadline(milliseconds: 5_000)
    try channel.send(.begin, deadline: deadline)
    #expect(try channel.receive(deadline: deadline).message == .refused(reason: "not this one"))
    #expect(throws: HandoverError.gone) { try channel.receive(deadline: deadline) }
    #expect(fixture.site.handoverCount == 1)
    _ = try fixture.client.status()
  }
}
