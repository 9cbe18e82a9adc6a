import Foundation
import TestSupport
import Testing

/// Proves that sites which know each other's keys replicate over encrypted links, that everybody
/// else is told and can change nothing, and that what an operator does about it holds at once and
/// after a kill.
@Suite(.scratch) struct PairedLinkTests {
  private let pair: SitePair

  init() throws {
    pair = try SitePair(start: false) { east, west in
      for site in [east, west] { site.configuration.links = "{ tls: required }" }
    }
    try pair.east.start()
    try pair.west.start()
  }

  private func command(_ site: Site, _ words: String...) throws -> Finished {
    try site.tapline(words + ["--control", site.configuration.control])
  }

  private func code(of site: Site) throws -> String {
    let offer = try JSON(try command(site, "pair", "--json").checked().stdout)
    return try #require(offer.first("code")?.string)
  }

  /// `east` introduces itself to `west`, through the cable.
  private func introduce() throws {
    _ = try command(pair.east, "pair", try code(of: pair.west), pair.cable.address).checked()
  }

  private func linkDetail(_ site: Site) throws -> String {
    try site.status().first("link")?.first("detail")?.string ?? ""
  }

  private func isInStep() throws -> Bool {
    try TaplineContract.isDrained(group: "g", status: pair.east.status())
  }

  @Test func `paired sites replicate, and nothing of it can be read on the way`() throws {
    try eventually("east says what is missing") {
      try linkDetail(pair.east).contains("west is not paired with this site: see `tapline pair`")
    }
    try introduce()
    try eventually("west follows") { try isInStep() }
    let client = try pair.east.connect("disk")
    let secret = Array("nobody is to read this: ".utf8)
    let block = Array(repeatElement(secret, count: 50_000).joined().prefix(1 << 20))
    pair.cable.record()
    try client.write(block, at: 0)
    try eventually("west has it") { try isInStep() }
    #expect(try pair.west.image("disk@latest").starts(with: block))
    let passed = Data(pair.cable.recorded)
    #expect(passed.range(of: Data(secret)) == nil && passed.count > 4096)
  }

  @Test func `each knows the other after a kill`() throws {
    try introduce()
    for site in [pair.east, pair.west] {
      try site.crash()
      try site.start()
    }
    try eventually("west follows") { try isInStep() }
    let peers = try JSON(try command(pair.west, "peers", "--json").checked().stdout)
    #expect(peers.first("peers")?.elements.first?.first("site")?.string == "east")
  }

  @Test func `a code is good once`() throws {
    let code = try code(of: pair.west)
    // Of its last letters, which are the secret's; two bits of the last one are always 0.
    let wrong = String(code.dropLast(3)) + (code.hasSuffix("0") ? "ZZ4" : "ZZ0")
    let refused = try command(pair.east, "pair", wrong, pair.cable.address)
    #expect(refused.status != 0 && refused.stderr.contains("wrong"), "\(refused)")
    _ = try command(pair.east, "pair", code, pair.cable.address).checked()
    #expect(pair.west.log.contains("east is paired with this site"))
    for _ in 0..<5 {
      let late = try command(pair.east, "pair", code, pair.cable.address)
      #expect(late.status != 0 && late.stderr.contains("wrong, was used"), "\(late)")
    }
    _ = try command(pair.west, "unpair", "east").checked()
    let late = try command(pair.east, "pair", code, pair.cable.address)
    #expect(late.status != 0 && late.stderr.contains("does not take new sites"), "\(late)")
  }

  @Test func `whoever else answers at the address is not told the secret`() throws {
    let code = try code(of: pair.west)
    // `east` itself listens there.
    let refused = try command(pair.east, "pair", code, pair.east.configuration.link)
    #expect(refused.status != 0 && refused.stderr.contains("not the site of which the code is"))
    _ = try command(pair.east, "pair", code, pair.cable.address).checked()
  }

  @Test func `who is unpaired is out at once`() throws {
    try introduce()
    try eventually("west follows") { try isInStep() }
    _ = try command(pair.west, "unpair", "east").checked()
    try eventually("east is told") {
      try linkDetail(pair.east).contains("does not know the key of this site")
    }
    let client = try pair.east.connect("disk")
    let written = [UInt8](repeating: 5, count: 4096)
    try client.write(written, at: 0)
    // `east` still has the key of `west`: it is the same one.
    try introduce()
    try eventually("west has what was written meanwhile") { try isInStep() }
    #expect(try pair.west.image("disk@latest").starts(with: written))
  }

  /// A site that is paired under one name may not say another one.
  @Test func `a name goes with its key`() throws {
    try introduce()
    try eventually("west follows") { try isInStep() }
    let north = try Site("north", in: try ScratchDirectory())
    north.configuration.links = "{ tls: required }"
    try north.addDisk("disk", size: 8 << 20, role: .protected)
    north.configuration.groups[0].peer = ("west", pair.west.configuration.link)
    try north.start()
    _ = try command(
      north, "pair", try code(of: pair.west), pair.west.configuration.link
    ).checked()
    try north.stop()
    // It comes as `east`.
    north.configuration.site = "east"
    try north.start()
    try eventually("it is refused") {
      try linkDetail(north).contains("the key is not that of 'east'")
    }
    #expect(try isInStep())
    // And `east` does not take it for `west`.
    pair.east.configuration.groups[0].peer = ("west", north.configuration.link)
    try pair.east.stop()
    try pair.east.start()
    try eventually("east does not talk to it") {
      try linkDetail(pair.east).contains("is not west, or has another key")
    }
  }

  @Test(.requires("openssl"))
  func `a stranger learns no name and ends nothing`() throws {
    try introduce()
    try eventually("west follows") { try isInStep() }
    let pki = try pair.scratch.subdirectory("stranger")
    _ = try run(
      "openssl",
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "\(pki)/key.pem", "-out", "\(pki)/cert.pem", "-subj", "/CN=east", "-days", "1",
      ]
    ).checked()
    let address = String(pair.west.configuration.link.dropFirst("tcp:".count))
    for options in [[], ["-cert", "\(pki)/cert.pem", "-key", "\(pki)/key.pem"], ["-tls1_2"]] {
      let words = ["openssl", "s_client", "-connect", address] + options
      let seen = try run(
        "bash", ["-c", "(sleep 1; echo hello) | timeout 20 \(words.joined(separator: " "))"])
      let text = seen.stdout + seen.stderr
      #expect(text.contains("alert"), "\(seen)")
      for name in ["west", "disk", "site"] {
        #expect(!text.contains(name), "\(name): \(seen)")
      }
    }
    #expect(try isInStep())
    #expect(try pair.east.counter("reconnects") == 0)
  }

  @Test func `a key that others can read is not used`() throws {
    try introduce()
    try pair.west.stop()
    let key = "\(pair.west.configuration.data)/_trust/key.pem"
    try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: key)
    let daemon = try pair.west.launch()
    #expect(try daemon.wait() != .exited(0))
    try eventually("it says what to do") { pair.west.log.contains("chmod 600 \(key)") }
  }
}
