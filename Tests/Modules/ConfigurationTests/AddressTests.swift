import Configuration
import SystemIO
import Testing

/// Proves that addresses of sockets and backing stores are read as documented, written so that
/// they read back, and refused when nothing could be reached by them.
@Suite struct AddressTests {
  @Test(arguments: [
    ("unix:/run/s.sock", SocketAddress.unix(path: "/run/s.sock")),
    ("unix:relative", .unix(path: "relative")),
    (
      "unix:" + String(repeating: "p", count: 107), .unix(path: String(repeating: "p", count: 107))
    ),
    ("tcp:127.0.0.1:10809", .tcp(host: "127.0.0.1", port: 10809)),
    ("tcp:db-1.example.org:1", .tcp(host: "db-1.example.org", port: 1)),
    ("tcp:localhost:0", .tcp(host: "localhost", port: 0)),
    ("tcp:[::1]:65535", .tcp(host: "::1", port: 65535)),
    ("tcp:[fe80::1%eth0]:80", .tcp(host: "fe80::1%eth0", port: 80)),
  ])
  func readsSocketAddresses(text: String, expected: SocketAddress) throws {
    #expect(try SocketAddress(parsing: text) == expected)
    #expect(expected.description == text)
  }

  @Test(arguments: [
    "", "unix:", "unix:a\0b", "unix:" + String(repeating: "p", count: 108), "UNIX:/s", "/s",
    "tcp:", "tcp:host", "tcp::80", "tcp:host:", "tcp:host:x", "tcp:host:+1", "tcp:host:-1",
    "tcp:host:65536", "tcp:host:99999999999999999999", "tcp:::1:80", "tcp:[::1]80", "tcp:[::1]",
    "tcp:[]:80", "tcp:[::g]:80", "tcp:[127.0.0.1]:80", "tcp:[::1%]:80", "tcp:256.0.0.1:80",
    "tcp:1.2.3:80", "tcp:a..b:80", "tcp:-a:80", "tcp:a b:80", "tcp:*:80", "tcp:a/b:80",
    "tcp:" + String(repeating: "a", count: 64) + ":80", "udp:host:80",
  ])
  func refusesOtherSocketAddresses(text: String) {
    #expect(throws: AddressSyntaxError.self) { try SocketAddress(parsing: text) }
  }

  @Test(arguments: [
    ("file:/srv/a.raw", BackingAddress.file(path: "/srv/a.raw")),
    ("file:/dev/vg/lv", .file(path: "/dev/vg/lv")),
    ("file:a b", .file(path: "a b")),
    ("nbd://host", .nbd(uri: "nbd://host")),
    ("nbds://host:10809/export", .nbd(uri: "nbds://host:10809/export")),
    ("nbd://[::1]/", .nbd(uri: "nbd://[::1]/")),
    ("nbd+unix:///?socket=/s", .nbd(uri: "nbd+unix:///?socket=/s")),
    ("nbds+unix:///e?tls-hostname=h&socket=s", .nbd(uri: "nbds+unix:///e?tls-hostname=h&socket=s")),
    ("nbd+vsock://2/e", .nbd(uri: "nbd+vsock://2/e")),
  ])
  func readsBackingAddresses(text: String, expected: BackingAddress) throws {
    #expect(try BackingAddress(parsing: text) == expected)
    #expect(expected.description == text)
  }

  @Test(arguments: [
    "", "/srv/a.raw", "file:", "file:a\0b", "FILE:/a", "nbd:host:10809", "nbd:unix:/s", "nbd://",
    "nbd:///export", "nbd://?x", "nbd+unix://host/e?socket=/s", "nbd+unix:///e",
    "nbd+unix:///e?socket=", "nbd+unix:///e#?socket=/s", "nbd://host/a b", "nbd://host/\u{e9}",
    "nbd+ssh://host/e", "http://host/", "file:" + String(repeating: "p", count: 4096),
  ])
  func refusesOtherBackingAddresses(text: String) {
    #expect(throws: AddressSyntaxError.self) { try BackingAddress(parsing: text) }
  }
}
