import BlockModel
import Foundation
import Journal
import TestSupport
import Testing

@testable import Appliance
@testable import Replication

/// Proves that the disks of a group are not served without its journal where they are not current.
@Suite(.scratch) struct PlainOpeningTests {
  @Test func `disks of a full copy that was not finished are not served without it`() throws {
    let site = try LinkedHost(ScratchDirectory())
    let hello = LinkHello(
      site: "east", receiver: "west", groupName: "g", group: GroupIdentifier(high: 1, low: 2),
      lineage: Lineage(),
      segmentByteCount: 64 << 10, disks: [.init(name: "disk", byteCount: 1 << 20)])
    let channel = try PeerChannel(connectingTo: site.endpoint)
    try channel.send(LinkFrame(.hello), hello.encoded())
    try channel.send(LinkFrame(.copyBegin, argument: 1), [])
    try eventually("the copy has begun") {
      site.host.group?.stateKeeper?.state.baseline == .copying
    }
    channel.shutDown()
    site.close()
    let refusal = #expect(throws: SiteError.self) {
      try GroupOpening.leaveJournal(site.host.configuration, site.folder)
    }
    let text = "\(try #require(refusal))"
    #expect(text.contains("a full copy from the protected site was not finished"), "\(text)")
  }

  @Test func `segments whose state file is gone are not passed over`() throws {
    let scratch = try ScratchDirectory()
    let host = try protectedHost(scratch)
    try host.serve()
    let group = try #require(host.group)
    #expect(group.loop.ask { $0(group.writeCheckpoint(tag: "used") != nil) } == true)
    host.end()
    let folder = scratch.file("data/g")
    try FileManager.default.removeItem(atPath: "\(folder)/state")
    let refusal = #expect(throws: SiteError.self) {
      try GroupOpening.leaveJournal(host.configuration, folder)
    }
    let text = "\(try #require(refusal))"
    #expect(text.contains("state is missing or was never written"), "\(text)")
  }
}
