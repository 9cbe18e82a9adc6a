import Foundation
import TestSupport
import Testing

/// Proves that of three sites one owns a group in the end, and the others follow it, when several
/// have taken it over that did not know of each other.
@Suite(.scratch) struct SeveralOwnersTests {
  private static let size = 1 << 20

  private func write(_ value: UInt8, to site: Site) throws {
    let client = try site.connect("disk")
    try client.write([UInt8](repeating: value, count: 64 << 10), at: UInt64(value) << 16)
    try client.flush()
  }

  /// It has heard of no other term than the one with which it began to follow.
  @Test func `a group that was taken back is moved to a site that followed all along`() throws {
    let rig = try ThreeSites(disks: ["disk"], size: Self.size)
    try write(1, to: rig.sites[0])
    try rig.command(1, ["failover", "g"]).checked()
    try eventually("east is fenced") { try rig.saying(0)?.fence != nil }
    try rig.command(0, ["failover", "g"]).checked()
    try rig.command(1, ["rollback", "g"]).checked()
    try write(2, to: rig.sites[0])
    try eventually("both follow") { try rig.haveAll(of: 0) }
    let shown = try rig.sites[0].image("disk")
    try rig.command(0, ["move", "g", "--to", "south"]).checked()
    try write(3, to: rig.sites[2])
    try eventually("both follow south") {
      try rig.saying(0)?.isOwning == false && rig.haveAll(of: 2)
    }
    #expect(try rig.sites[2].image("disk").starts(with: shown[..<(3 << 16)]))
  }

  /// They do not know of each other. What the one gives back, the other still has.
  @Test func `an owner that has stopped for two goes on when both have given the group back`()
    throws
  {
    let rig = try ThreeSites(disks: ["disk"], size: Self.size)
    try write(1, to: rig.sites[0])
    rig.setCut(1, 2, true)
    func fence(names site: String) throws {
      try eventually("east has stopped for \(site)") {
        try rig.saying(0)?.fence?.contains("site \(site) ") == true
      }
    }
    try rig.command(1, ["failover", "g"]).checked()
    try fence(names: "west")
    rig.setCut(0, 1, true)
    try write(2, to: rig.sites[1])
    try rig.command(2, ["failover", "g"]).checked()
    try eventually("east has met south") { rig.sites[2].log.contains("has owned the group") }
    try rig.command(2, ["rollback", "g"]).checked()
    try eventually("south has given it back") {
      rig.sites[0].log.contains("south has given the group back, but not west")
    }
    #expect(throws: (any Error).self) { try write(3, to: rig.sites[0]) }
    // Also after a kill.
    try rig.sites[0].crash()
    try rig.sites[0].start()
    try fence(names: "west")
    #expect(throws: (any Error).self) { try write(3, to: rig.sites[0]) }
    rig.setCut(0, 1, false)
    try rig.command(1, ["rollback", "g"]).checked()
    try eventually("east writes") { (try? write(3, to: rig.sites[0])) != nil }
  }

  /// By two sites: what they have in common is what was there before anything.
  @Test func `a group is taken over before its first record`() throws {
    let rig = try ThreeSites(disks: ["disk"], size: Self.size)
    let (east, west, south) = (rig.sites[0], rig.sites[1], rig.sites[2])
    for other in 0...1 { rig.setCut(2, other, true) }
    try rig.command(1, ["failover", "g", "--commit", "now"]).checked()
    try write(1, to: west)
    try eventually("east follows west") {
      (try? east.image("disk@latest")) == (try west.image("disk"))
    }
    let kept = try west.image("disk")
    try rig.command(2, ["failover", "g", "--commit", "now"]).checked()
    try write(2, to: south)
    for other in 0...1 { rig.setCut(2, other, false) }
    try eventually("both follow south") {
      for site in 0...1 where try rig.saying(site)?.isOwning != false { return false }
      return try rig.haveAll(of: 2)
    }
    let shown = try south.image("disk")
    for site in [east, west] { #expect(difference(try site.image("disk@latest"), shown) == nil) }
    // East followed it, and west acknowledged it.
    for site in 0...1 {
      let names = try rig.parkedNames(site)
      #expect(names.count == 1)
      let image = try rig.sites[site].image("disk@\(names[0])@latest")
      #expect(difference(image, kept) == nil)
    }
  }
}
