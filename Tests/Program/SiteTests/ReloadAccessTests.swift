import Foundation
import TestSupport
import Testing

/// Proves that a reload takes over who may connect, for clients that come from then on: access
/// rules, keys, certificates and revocations; and that credentials that cannot be read change
/// nothing.
@Suite(.scratch) struct ReloadAccessTests {
  @Test(.requires("nbdinfo")) func `access rules hold for the next client`() throws {
    let single = try SingleSite()
    let client = try single.site.connect("disk")
    single.site.configuration.groups[0].disks[0].access = "[{uid: \(getuid()), allow: read-only}]"
    let reload = try JSON(try single.site.reload().checked().stdout)
    #expect(reload["applied"]?.elements.compactMap(\.string) == ["disk disk: access"])
    #expect(try run("nbdinfo", ["--is", "read-only", single.uri]).status == 0)
    try client.write([1], at: 0)
    single.site.configuration.groups[0].disks[0].access = nil
    try single.site.reload().checked()
    #expect(try run("nbdinfo", ["--is", "read-only", single.uri]).status == 2)
  }

  @Test(.requires("nbdinfo"))
  func `a key that was added is known, and one that was removed is not`()
    throws
  {
    let port = try unusedPort()
    let line = ":\(String(repeating: "5a", count: 32))\n"
    let single = try SingleSite { site in
      try site.scratch.secretFile("keys.psk", "alice\(line)")
      try site.scratch.secretFile("own.psk", "alice\(line)bob\(line)")
      site.configuration.nbd.append(
        "{ address: \"tcp:127.0.0.1:\(port)\", tls: required, "
          + "keys: \"\(site.scratch.file("keys.psk"))\" }")
    }
    func canConnect(_ user: String) throws -> Bool {
      let own = single.scratch.file("own.psk")
      let uri = "nbds://\(user)@127.0.0.1:\(port)/disk?tls-psk-file=\(own)"
      return try run("nbdinfo", ["--size", uri]).status == 0
    }
    func setKeys(_ text: String) throws {
      try single.scratch.secretFile("keys.psk", text)
    }
    #expect(try canConnect("alice") && !canConnect("bob"))
    try setKeys("bob\(line)")
    #expect(try canConnect("alice"))
    try single.site.reload().checked()
    #expect(try !canConnect("alice") && canConnect("bob"))

    try setKeys("nonsense\n")
    single.site.setSize(16 << 20)
    let refused = try single.site.reload()
    #expect(refused.status == 1)
    #expect(refused.stderr.contains("keys.psk:1: "), "\(refused)")
    #expect(refused.stderr.contains("nothing was changed"), "\(refused)")
    #expect(try canConnect("bob"))
    #expect(try single.site.connect("disk").size == 8 << 20)
  }

  @Test(.requires("nbdinfo", "openssl")) func `a certificate that was revoked is refused`() throws {
    let port = try unusedPort()
    var made: Certificates?
    let single = try SingleSite { site in
      let authority = try Certificates(in: site.scratch)
      made = authority
      site.configuration.nbd.append(
        "{ address: \"tcp:127.0.0.1:\(port)\", tls: required, "
          + "certificates: \"\(try authority.server())\" }")
    }
    let authority = try #require(made)
    func size(_ client: String) throws -> Finished {
      try run(
        "nbdinfo", ["--size", "nbds://localhost:\(port)/disk?tls-certificates=\(client)"])
    }
    let (kept, revoked) = (try authority.client("kept"), try authority.client("revoked"))
    try size(kept).checked()
    try size(revoked).checked()
    let open = try NBDClient("nbds://localhost:\(port)/disk?tls-certificates=\(revoked)")
    try authority.revoke(revoked, for: single.scratch.file("server-pki"))
    try size(revoked).checked()
    try single.site.reload().checked()
    try size(kept).checked()
    #expect(try size(revoked).status != 0)
    // Who is connected goes on.
    try open.write([1], at: 0)
  }

  @Test(.requires("nbdinfo", "openssl")) func `TLS can become optional, and not be turned off`()
    throws
  {
    let port = try unusedPort()
    func listener(_ site: Site, _ mode: String) -> String {
      "{ address: \"tcp:127.0.0.1:\(port)\", tls: \(mode), "
        + "certificates: \"\(site.scratch.file("server-pki"))\" }"
    }
    let single = try SingleSite { site in
      _ = try Certificates(in: site.scratch).server()
      site.configuration.nbd.append(listener(site, "required"))
    }
    let uri = "nbd://127.0.0.1:\(port)/disk"
    #expect(try run("nbdinfo", ["--size", uri]).status != 0)
    single.site.configuration.nbd[1] = listener(single.site, "off")
    let waits = try JSON(try single.site.reload().checked().stdout)
    #expect(waits["needs_restart"]?.elements.first?.string?.contains("required") == true)
    #expect(try run("nbdinfo", ["--size", uri]).status != 0)
    single.site.configuration.nbd[1] = listener(single.site, "optional")
    try single.site.reload().checked()
    try run("nbdinfo", ["--size", uri]).checked()
  }
}
