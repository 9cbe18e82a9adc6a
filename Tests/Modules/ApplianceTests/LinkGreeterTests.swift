import BlockModel
import Journal
import TestSupport
import Testing

@testable import Appliance
@testable import Replication

/// Proves that peers whose greetings are no good, however many come, are told why, cost a few lines
/// of the log, and put nothing into it that they have chosen.
@Suite(.scratch) struct LinkGreeterTests {
  private func hello(
    _ site: String, to receiver: String = "west", group: String = "g", disk: String = "disk"
  ) -> [UInt8] {
    LinkHello(
      site: site, receiver: receiver, groupName: group, group: GroupIdentifier(high: 1, low: 2),
      lineage: Lineage(),
      segmentByteCount: 64 << 10, disks: [.init(name: disk, byteCount: 1 << 20)]
    ).encoded()
  }

  /// Letters only, of which no two are the same.
  private func name(_ number: Int) -> String {
    String(
      String(number).unicodeScalars.map { Character(Unicode.Scalar($0.value + 49) ?? "x") })
  }

  /// Sends frames of the kind, each over a connection of its own, and returns the reasons that came
  /// back and what was logged of them.
  private func greet(
    _ bodies: [[UInt8]], _ kind: LinkFrameKind = .hello
  ) throws -> (reasons: [String], log: [String]) {
    let site = try LinkedHost(ScratchDirectory())
    var reasons: [String] = []
    for body in bodies {
      let channel = try PeerChannel(connectingTo: site.endpoint)
      try channel.send(LinkFrame(kind), body)
      let answer = try? channel.receive(timeoutMilliseconds: 10_000)
      if let (frame, text) = answer ?? nil, frame.kind == .refused {
        reasons.append(String(decoding: text, as: UTF8.self))
      }
      channel.shutDown()
    }
    site.close()
    return (reasons, site.log)
  }

  @Test func `a peer that is refused under ever other names costs a few lines`() throws {
    let (reasons, log) = try greet((0..<40).map { hello(name($0)) })
    #expect(reasons.count == 40)
    #expect(reasons.first?.contains("receives from site east") ?? false, "\(reasons)")
    #expect(log.count == LogLimiter.burst, "\(log)")
  }

  /// It came to the address of another peer of its sender, by mistake: that one's link would end at
  /// each try.
  @Test func `a hello for another site is refused, and the present link lives on`() throws {
    let site = try LinkedHost(ScratchDirectory())
    let right = try PeerChannel(connectingTo: site.endpoint)
    try right.send(LinkFrame(.hello), hello("east"))
    #expect(try right.receive(timeoutMilliseconds: 10_000)?.0.kind == .welcome)
    for receiver in ["north", "", "west\nnorth"] {
      let wrong = try PeerChannel(connectingTo: site.endpoint)
      try wrong.send(LinkFrame(.hello), hello("east", to: receiver))
      let (frame, body) = try #require(try wrong.receive(timeoutMilliseconds: 10_000))
      let text = String(decoding: body, as: UTF8.self)
      #expect(frame.kind == .refused)
      #expect(text.contains("this is site west, and ") && text.contains("'address'"), "\(text)")
      #expect(receiver != "north" || text.contains("'north' is meant"), "\(text)")
      wrong.shutDown()
    }
    // What follows the greeting is still taken.
    try right.send(LinkFrame(.copyBegin, argument: 1), [])
    try right.send(LinkFrame(.baselineConfirm, argument: 5), [])
    var frame: LinkFrame?
    repeat {
      frame = try right.receive(timeoutMilliseconds: 10_000)?.0
    } while frame?.kind == .alive || frame?.kind == .progress
    #expect(frame?.kind == .baselineStored)
    right.shutDown()
    site.close()
    #expect(site.log.allSatisfy { !$0.contains("\n") }, "\(site.log)")
  }

  @Test func `what is no hello, or names no group that is here, costs a few lines`() throws {
    let (_, log) = try greet([[UInt8]](repeating: [], count: 20), .begin)
    #expect(log.count == LogLimiter.burst, "\(log)")
    let (reasons, others) = try greet((0..<20).map { hello("east", group: "x" + name($0)) })
    #expect(reasons.count == 20 && others.count == LogLimiter.burst, "\(others)")
  }

  @Test(arguments: ["east\nall is well", "", "east'"])
  func `a name that no site has is refused, and logged nowhere`(name: String) throws {
    for body in [hello(name), hello("east", disk: name)] {
      let (reasons, log) = try greet([body])
      #expect(reasons.first?.contains("name that no site or disk can have") ?? false)
      #expect(log.count == 1 && !log[0].contains("all is well"), "\(log)")
    }
  }
}
