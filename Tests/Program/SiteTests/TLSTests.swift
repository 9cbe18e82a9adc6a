import Foundation
import TestSupport
import Testing

/// Proves that listeners with TLS let in exactly the clients that they should, that these read and
/// write as others do, and that a disk's access rules hold for each of them. The clients are
/// libnbd's tools and qemu's.
@Suite struct TLSTests {
  private let single: SingleSite
  private let authority: Certificates
  private let port: UInt16

  private init(
    mode: String, verifiesClients: Bool = true, access: String? = nil, size: Int = 8 << 20
  ) throws {
    let port = try unusedPort()
    var made: Certificates?
    single = try SingleSite(size: size) { site in
      let authority = try Certificates(in: site.scratch)
      made = authority
      site.configuration.nbd.append(
        """
        { address: "tcp:127.0.0.1:\(port)", tls: \(mode), \
        certificates: "\(try authority.server())", verify_clients: \(verifiesClients) }
        """)
      site.configuration.groups[0].disks[0].access = access
    }
    authority = try #require(made)
    self.port = port
  }

  init() throws { try self.init(mode: "required") }

  private func uri(_ pki: String?) -> String {
    guard let pki else { return "nbd://127.0.0.1:\(port)/disk" }
    return "nbds://localhost:\(port)/disk?tls-certificates=\(pki)"
  }

  private func sizeSeen(_ uri: String) throws -> Finished { try run("nbdinfo", ["--size", uri]) }

  // MARK: Certificates

  @Test(.requires("nbdinfo", "openssl"))
  func `a client with a certificate of the authority is served`() throws {
    let test = try TLSTests(mode: "required")
    let seen = try test.sizeSeen(test.uri(test.authority.client("host1"))).checked()
    #expect(seen.stdout == "\(8 << 20)\n")
  }

  @Test(.requires("nbdinfo", "qemu-img", "openssl"))
  func `a client in the clear is told that TLS is required`() throws {
    let test = try TLSTests(mode: "required")
    #expect(try test.sizeSeen(test.uri(nil)).status != 0)
    let refused = try run("qemu-img", ["info", test.uri(nil)])
    #expect(refused.stderr.contains("TLS"), "\(refused)")
  }

  @Test(.requires("nbdinfo", "openssl"))
  func `with optional TLS both are served`() throws {
    let test = try TLSTests(mode: "optional")
    try test.sizeSeen(test.uri(nil)).checked()
    try test.sizeSeen(test.uri(test.authority.client("host1"))).checked()
  }

  @Test(.requires("nbdinfo", "openssl"))
  func `a certificate of another authority is refused, and others are served on`() throws {
    let test = try TLSTests(mode: "required")
    let stranger = try Certificates(in: test.single.scratch, named: "stranger").client("evil")
    // It trusts the right server, but proves itself by the wrong authority.
    let own = try test.authority.client("host1")
    try FileManager.default.removeItem(atPath: "\(stranger)/ca-cert.pem")
    try FileManager.default.copyItem(
      atPath: "\(own)/ca-cert.pem", toPath: "\(stranger)/ca-cert.pem")
    #expect(try test.sizeSeen(test.uri(stranger)).status != 0)
    try test.sizeSeen(test.uri(own)).checked()
  }

  @Test(.requires("nbdinfo", "openssl"), arguments: [true, false])
  func `a client without a certificate is served only if clients are not verified`(
    verifies: Bool
  ) throws {
    let test = try TLSTests(mode: "required", verifiesClients: verifies)
    let pki = try test.authority.client("nobody")
    for name in ["client-cert.pem", "client-key.pem"] {
      try FileManager.default.removeItem(atPath: "\(pki)/\(name)")
    }
    #expect((try test.sizeSeen(test.uri(pki)).status == 0) == !verifies)
  }

  @Test(.requires("nbdinfo", "openssl"))
  func `a server without TLS says so to a client that wants it`() throws {
    let single = try SingleSite()
    let pki = try Certificates(in: single.scratch).client("host1")
    let uri = "nbds+unix:///disk?socket=\(single.site.socket)&tls-certificates=\(pki)"
    #expect(try run("nbdinfo", ["--size", uri]).status != 0)
    #expect(try run("nbdinfo", ["--size", single.uri]).status == 0)
  }

  // MARK: Data

  @Test(.requires("nbdcopy", "openssl", "cmp"))
  func `what is copied in and out over TLS is the same`() throws {
    let size = 24 << 20
    let test = try TLSTests(mode: "required", size: size)
    let uri = try test.uri(test.authority.client("host1"))
    var random = SeededGenerator(seed: testSeed(5))
    let source = test.single.scratch.file("source.raw")
    try Data(random.bytes(size)).write(to: URL(filePath: source))
    let back = test.single.scratch.file("back.raw")
    // Large requests, so that a reply is far larger than a TLS record and a socket's buffer.
    try run("nbdcopy", ["--request-size=4194304", "--flush", source, uri]).checked()
    try run("nbdcopy", ["--request-size=4194304", uri, back]).checked()
    try run("cmp", [source, back]).checked()
    try run("nbdcopy", [test.single.uri, back]).checked()
    try run("cmp", [source, back]).checked()
  }

  @Test(.requires("qemu-io", "qemu-img", "openssl"))
  func `qemu reads and writes over TLS`() throws {
    let test = try TLSTests(mode: "required")
    let pki = try test.authority.client("host1")
    let credentials = "tls-creds-x509,id=tls,endpoint=client,dir=\(pki)"
    let image =
      "driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=localhost,"
      + "file.server.port=\(test.port),file.export=disk,file.tls-creds=tls,"
      + "file.tls-hostname=localhost"
    try run(
      "qemu-io",
      [
        "--object", credentials, "--image-opts", image, "-c", "write -P 7 64k 128k", "-c",
        "read -P 7 64k 128k", "-c", "read -P 0 0 64k", "-c", "flush",
      ]
    ).checked()
    #expect(try test.single.site.connect("disk").read(at: 64 << 10, count: 2) == [7, 7])
  }

  // MARK: Keys

  @Test(.requires("nbdinfo", "nbdcopy"))
  func `a client with a pre-shared key is served, and one with another key is not`() throws {
    let port = try unusedPort()
    let single = try SingleSite { site in
      let keys = site.scratch.file("keys.psk")
      let key = String(repeating: "5a", count: 32)
      try site.scratch.secretFile("keys.psk", "alice:\(key)\nbob:\(key)\n")
      try site.scratch.secretFile("wrong.psk", "alice:\(String(repeating: "6b", count: 32))\n")
      site.configuration.nbd.append(
        "{ address: \"tcp:127.0.0.1:\(port)\", tls: required, keys: \"\(keys)\" }")
      site.configuration.groups[0].disks[0].access =
        "[{client: alice, allow: read-write}, {client: bob, allow: read-only}]"
    }
    func uri(_ user: String, _ file: String) -> String {
      "nbds://\(user)@127.0.0.1:\(port)/disk?tls-psk-file=\(single.scratch.file(file))"
    }
    try run("nbdinfo", ["--size", uri("alice", "keys.psk")]).checked()
    #expect(try run("nbdinfo", ["--size", uri("alice", "wrong.psk")]).status != 0)
    #expect(try run("nbdinfo", ["--is", "read-only", uri("alice", "keys.psk")]).status == 2)
    #expect(try run("nbdinfo", ["--is", "read-only", uri("bob", "keys.psk")]).status == 0)
  }

  // MARK: Access

  @Test(.requires("nbdinfo", "openssl"))
  func `a disk is open to whom its rules name, as they say`() throws {
    let test = try TLSTests(
      mode: "optional",
      access: "[{client: host1, allow: read-write}, {client: \"CN=host2,O=shop\", "
        + "allow: read-only}]")
    func isReadOnly(_ uri: String) throws -> Int32 {
      try run("nbdinfo", ["--is", "read-only", uri]).status
    }
    #expect(try isReadOnly(test.uri(test.authority.client("host1"))) == 2)
    #expect(try isReadOnly(test.uri(test.authority.client("host2"))) == 0)
    #expect(try isReadOnly(test.uri(test.authority.client("host3"))) == 1)
    #expect(try isReadOnly(test.uri(nil)) == 1)
    // Not even its name is shown.
    let list = try run("nbdinfo", ["--list", "nbd://127.0.0.1:\(test.port)"])
    #expect(!list.stdout.contains("disk"), "\(list)")
  }

  @Test(.requires("nbdinfo")) func `the user at a unix socket is known`() throws {
    let user = getuid()
    for (rule, isReadOnly) in [(user, Int32(0)), (user + 1, 1)] {
      let single = try SingleSite {
        $0.configuration.groups[0].disks[0].access = "[{uid: \(rule), allow: read-only}]"
      }
      #expect(try run("nbdinfo", ["--is", "read-only", single.uri]).status == isReadOnly)
    }
  }
}
