import Foundation
import TestSupport
import Testing

/// Proves that a site says what is wrong with its link while nothing gets through, whatever the
/// sockets look like, once and not again and again; and that it is well when the link is.
@Suite(.scratch) struct LinkConditionTests {
  private func conditions(_ site: Site) throws -> [String: JSON] {
    let group = try TaplineContract.group("g", in: site.status())
    let found = (group["conditions"]?.elements ?? []).map { ($0["code"]?.string ?? "", $0) }
    return Dictionary(uniqueKeysWithValues: found)
  }

  private func health(_ site: Site) throws -> String {
    try TaplineContract.group("g", in: site.status())["health"]?.string ?? ""
  }

  private func waitUntilWell(_ pair: SitePair) throws {
    for site in [pair.east, pair.west] {
      try eventually("\(site.name) is well") { try health(site) == "ok" }
    }
  }

  @Test func `a peer that takes everything and acknowledges nothing is told of`() throws {
    let pair = try SitePair()
    try waitUntilWell(pair)
    pair.west.signal(SIGSTOP)
    defer { pair.west.signal(SIGCONT) }
    try pair.east.connect("disk").write([1], at: 0)
    try eventually("it is told") { try conditions(pair.east)["link-stalled"] != nil }
    let condition = try #require(try conditions(pair.east)["link-stalled"])
    #expect(condition["severity"]?.string == "error")
    #expect(condition["remedy"]?.string?.isEmpty == false)
    #expect(try health(pair.east).contains("acknowledged nothing for"))
    // The session ends, and others begin and come to nothing: that is no reason to be well.
    for _ in 0..<60 {
      #expect(try health(pair.east) != "ok")
      usleep(200_000)
    }
    pair.west.signal(SIGCONT)
    try pair.drain()
    try waitUntilWell(pair)
  }

  @Test func `a peer that is away is told of at both ends, and once`() throws {
    let pair = try SitePair()
    try waitUntilWell(pair)
    try pair.west.crash()
    try eventually("east tells") { try conditions(pair.east)["link-down"] != nil }
    #expect(try health(pair.east).contains("west has not been reached for"))
    try pair.west.start()
    try waitUntilWell(pair)
    try eventually("the end is logged") { pair.east.log.contains("link-down is over after") }
    #expect(pair.east.log.components(separatedBy: "(error link-down)").count == 2)

    try pair.east.crash()
    try eventually("west tells") { try conditions(pair.west)["link-down"] != nil }
    #expect(try health(pair.west).contains("east has not been connected for"))
    try pair.east.start()
    try waitUntilWell(pair)
  }

  @Test func `a peer that is back soon is not worth a word`() throws {
    let pair = try SitePair()
    try waitUntilWell(pair)
    try pair.west.crash()
    try pair.west.start()
    try pair.east.connect("disk").write([1], at: 0)
    try pair.drain()
    #expect(!pair.east.log.contains("link-down"))
  }
}
