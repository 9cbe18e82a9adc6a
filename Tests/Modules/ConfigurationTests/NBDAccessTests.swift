import Testing

@testable import Configuration

/// Proves what a configuration says about TLS is read as it is meant, and which of a disk's access
/// rules decides for a client.
@Suite struct NBDAccessTests {
  private func site(nbd: String, access: String = "") throws -> SiteConfiguration {
    try SiteConfiguration(
      yaml: Array(
        """
        site: east
        data: /d
        listen:
          nbd:
            - \(nbd)
        groups:
          - name: g
            role: plain
            disks:
              - { name: vm, backing: "file:/f"\(access.isEmpty ? "" : ", access: \(access)") }
        """.utf8), file: "site.yaml")
  }

  @Test(
    arguments: [
      (#""unix:/s""#, nil),
      (#"{ address: "unix:/s" }"#, nil),
      (#"{ address: "unix:/s", tls: off, certificates: /pki }"#, nil),
      (
        #"{ address: "unix:/s", tls: required, certificates: /pki }"#,
        TLSConfiguration(
          isRequired: true, credentials: .certificates(folder: "/pki", verifiesClients: true))
      ),
      (
        #"{ address: "unix:/s", tls: optional, certificates: /pki, verify_clients: no }"#,
        TLSConfiguration(
          isRequired: false, credentials: .certificates(folder: "/pki", verifiesClients: false))
      ),
      (
        #"{ address: "unix:/s", tls: required, keys: /keys.psk }"#,
        TLSConfiguration(isRequired: true, credentials: .preSharedKeys(file: "/keys.psk"))
      ),
    ] as [(String, TLSConfiguration?)])
  func `a listener is an address or a mapping`(yaml: String, tls: TLSConfiguration?) throws {
    let listeners = try site(nbd: yaml).listen.nbd
    #expect(listeners == [NBDListenerConfiguration(address: .unix(path: "/s"), tls: tls)])
  }

  private static let rules =
    #"[{client: "CN=a,O=shop", allow: read-write}, {client: b, allow: read-only}, "#
    + #"{uid: 7, allow: read-write}, {gid: 9, allow: read-only}, {client: c, allow: none}]"#

  @Test(
    arguments: [
      (ClientIdentity(tlsName: "CN=a,O=shop"), .readWrite),
      (ClientIdentity(tlsName: "CN=a,O=other"), .none),
      (ClientIdentity(tlsName: "O=shop,CN=b"), .readOnly),
      (ClientIdentity(tlsName: "b"), .readOnly),
      (ClientIdentity(tlsName: #"O=x\,CN=b,CN=z"#), .none),
      (ClientIdentity(tlsName: "CN=c", user: 8, group: 9), .readOnly),
      (ClientIdentity(user: 7, group: 9), .readWrite),
      (ClientIdentity(), .none),
    ] as [(ClientIdentity, DiskAccess)])
  func `the first rule that means the client decides`(
    client: ClientIdentity, access: DiskAccess
  ) throws {
    let disk = try #require(
      try site(nbd: "\"unix:/s\"", access: Self.rules).groups.first?.disks.first)
    #expect(disk.access(for: client) == access)
  }

  @Test func `without rules everyone may write, and a last rule can be for everyone`() throws {
    let open = try #require(try site(nbd: "\"unix:/s\"").groups.first?.disks.first)
    #expect(open.access(for: ClientIdentity()) == .readWrite)
    let rules = "[{uid: 0, allow: read-write}, {allow: read-only}]"
    let disk = try #require(try site(nbd: "\"unix:/s\"", access: rules).groups.first?.disks.first)
    #expect(disk.access(for: ClientIdentity(user: 0)) == .readWrite)
    #expect(disk.access(for: ClientIdentity(user: 1)) == .readOnly)
  }

  @Test(arguments: [
    ("[]", "lets nobody in"), ("[{uid: 0}]", "'allow' of an access rule is missing"),
    ("[{uid: 0, gid: 1, allow: none}]", "names one of"), ("[{uid: x, allow: none}]", "a number"),
    ("[{allow: write}]", "read-write"), ("[{user: 0, allow: none}]", "unknown key"),
  ])
  func `a rule that cannot be meant is refused`(rules: String, reason: String) throws {
    let error = #expect(throws: ConfigurationError.self) {
      try site(nbd: "\"unix:/s\"", access: rules)
    }
    #expect(error.map { "\($0)".contains(reason) } == true, "\(error as Any)")
  }
}
