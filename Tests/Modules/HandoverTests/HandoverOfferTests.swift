import Handover
import Testing

/// Proves which processes may follow each other: those that speak a common version and have the
/// same groups on the same disks.
struct HandoverOfferTests {
  private static func offer(
    _ site: String = "east", _ groups: [(String, String, [(String, String)])] = [shop]
  ) -> HandoverOffer {
    HandoverOffer(
      version: 1, program: "0.1.0", site: site,
      groups: groups.map { name, role, disks in
        .init(
          name: name, role: role, disks: disks.map { .init(name: $0.0, backing: $0.1) })
      })
  }

  private static let shop = ("shop", "protected", [("root", "/srv/root"), ("data", "/srv/data")])
  private static let more = ("more", "plain", [("scratch", "/srv/scratch")])

  @Test func `the same configuration fits, also with another group`() {
    #expect(Self.offer().obstacle(to: Self.offer()) == nil)
    #expect(Self.offer().obstacle(to: Self.offer("east", [Self.more, Self.shop])) == nil)
    let reversed = ("shop", "protected", Array(Self.shop.2.reversed()))
    #expect(Self.offer().obstacle(to: Self.offer("east", [reversed])) == nil)
  }

  @Test func `another site, role, disk or backing does not fit, nor a group that is gone`() {
    let others = [
      Self.offer("west"),
      Self.offer("east", []),
      Self.offer("east", [Self.more]),
      Self.offer("east", [("shop", "recovery", Self.shop.2)]),
      Self.offer("east", [("shop", "protected", [("root", "/srv/root")])]),
      Self.offer("east", [("shop", "protected", [("root", "/srv/root"), ("data", "/srv/other")])]),
    ]
    for other in others { #expect(Self.offer().obstacle(to: other) != nil, "\(other)") }
  }

  @Test func `the highest common version is spoken`() {
    #expect(HandoverOffer.version(for: [1, 2, 3], own: 1...2) == 2)
    #expect(HandoverOffer.version(for: [1], own: 1...2) == 1)
    #expect(HandoverOffer.version(for: [4, 3], own: 1...2) == nil)
    #expect(HandoverOffer.version(for: [], own: 1...2) == nil)
  }
}
