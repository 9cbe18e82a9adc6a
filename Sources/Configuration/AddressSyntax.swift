import BlockModel
import Glibc
import SystemIO

/// The syntax of addresses in configurations and on the command line.
extension SocketAddress {
  /// A unix path has at most `ConfigurationLimits.unixPathBytes` bytes.
  ///
  /// Names are not resolved here. An IPv6 address is written in brackets: `tcp:[::1]:10809`.
  public init(parsing text: String) throws(AddressSyntaxError) {
    if let path = text.dropping(prefix: "unix:") {
      guard (1...ConfigurationLimits.unixPathBytes).contains(path.utf8.count),
        !path.utf8.contains(0)
      else {
        throw AddressSyntaxError(
          "\(text.quotedForMessage): the path of a unix socket has 1 to"
            + " \(ConfigurationLimits.unixPathBytes) bytes")
      }
      self = .unix(path: path)
    } else if let rest = text.dropping(prefix: "tcp:") {
      self = try Self.tcp(rest, of: text)
    } else {
      throw AddressSyntaxError(
        "\(text.quotedForMessage) is not an address; write unix:PATH or tcp:HOST:PORT")
    }
  }

  private static func tcp(
    _ rest: String, of text: String
  ) throws(AddressSyntaxError) -> SocketAddress {
    guard let colon = rest.utf8.lastIndex(of: UInt8(ascii: ":")) else {
      throw AddressSyntaxError("\(text.quotedForMessage) has no port; write tcp:HOST:PORT")
    }
    let portText = rest[rest.utf8.index(after: colon)...]
    guard portText.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(portText) else {
      throw AddressSyntaxError(
        "\(text.quotedForMessage): the port is a number from 0 to 65535")
    }
    var host = String(rest[..<colon])
    if host.utf8.first == UInt8(ascii: "["), host.utf8.last == UInt8(ascii: "]") {
      host = String(host.utf8.dropFirst().dropLast()) ?? ""
      guard isIPv6(host) else {
        throw AddressSyntaxError(
          "\(text.quotedForMessage): there is no IPv6 address between the brackets")
      }
    } else if host.utf8.contains(UInt8(ascii: ":")) {
      throw AddressSyntaxError(
        "\(text.quotedForMessage): write an IPv6 address in brackets, as in tcp:[::1]:10809")
    } else if !isHost(host) {
      throw AddressSyntaxError(
        "\(text.quotedForMessage): the host is neither a name nor an IPv4 address")
    }
    return .tcp(host: host, port: port)
  }

  /// A zone, as in `fe80::1%eth0`, is allowed.
  private static func isIPv6(_ text: String) -> Bool {
    let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = parts.first else { return false }
    if parts.count == 2 {
      guard !parts[1].isEmpty, parts[1].utf8.count < Int(IF_NAMESIZE),
        parts[1].utf8.allSatisfy({ $0 > 32 && $0 < 127 })
      else { return false }
    }
    var parsed = in6_addr()
    return unsafe inet_pton(AF_INET6, String(address), &parsed) == 1
  }

  /// Host names as in RFC 1123, section 2.1, and with underscores, which are seen in practice.
  private static func isHost(_ text: String) -> Bool {
    let maximumHostBytes = 253
    guard (1...maximumHostBytes).contains(text.utf8.count) else { return false }
    if text.utf8.allSatisfy({ (48...57).contains($0) || $0 == UInt8(ascii: ".") }) {
      var parsed = in_addr()
      return unsafe inet_pton(AF_INET, text, &parsed) == 1
    }
    return text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
      .allSatisfy { label in
        guard let first = label.first, let last = label.last, label.count <= 63 else {
          return false
        }
        return first != UInt8(ascii: "-") && last != UInt8(ascii: "-")
          && label.allSatisfy(isNameByte)
      }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
      || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
  }
}

extension String {
  /// What follows `prefix`, byte for byte; nil when the text does not start with it.
  func dropping(prefix: String) -> String? {
    utf8.starts(with: prefix.utf8) ? String(utf8.dropFirst(prefix.utf8.count)) : nil
  }
}
