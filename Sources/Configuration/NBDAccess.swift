import SystemIO

/// A listener for NBD clients, and what it asks of them before they may choose an export.
public struct NBDListenerConfiguration: Hashable, Sendable {
  public var address: SocketAddress
  /// Nil: TLS is off, and a client that asks for it is told so.
  public var tls: TLSConfiguration?

  public init(address: SocketAddress, tls: TLSConfiguration? = nil) {
    self.address = address
    self.tls = tls
  }
}

public struct TLSConfiguration: Hashable, Sendable {
  public enum Mode: String, CaseIterable, Sendable {
    /// A client in the clear is refused all but the way to TLS.
    case required
    /// The client chooses.
    case optional
    case off
  }

  public enum Credentials: Hashable, Sendable {
    /// The folder of `ca-cert.pem`, `server-cert.pem`, `server-key.pem` and `ca-crl.pem`.
    case certificates(folder: String, verifiesClients: Bool)
    /// A file of `NAME:KEY` lines.
    case preSharedKeys(file: String)
  }

  public var isRequired: Bool
  public var credentials: Credentials

  public init(isRequired: Bool, credentials: Credentials) {
    self.isRequired = isRequired
    self.credentials = credentials
  }
}

/// What a client may do with a disk, and with the disk's views.
public enum DiskAccess: String, CaseIterable, Sendable {
  case readWrite = "read-write"
  case readOnly = "read-only"
  case none
}

/// One line of a disk's `access` list: whom it is about, and what these may do.
public struct AccessRule: Hashable, Sendable {
  public enum Subject: Hashable, Sendable {
    case everyone
    /// The subject of a client certificate (`CN=host1,O=shop`), its common name alone, or the name
    /// of a pre-shared key.
    case client(name: String)
    /// The user or group of the process at the other end of a unix socket.
    case user(UInt32)
    case group(UInt32)
  }

  public var subject: Subject
  public var access: DiskAccess

  public init(_ subject: Subject, _ access: DiskAccess) {
    self.subject = subject
    self.access = access
  }
}

/// Who a connected client is, as far as it has proved it.
public struct ClientIdentity: Equatable, Sendable {
  public var tlsName: String?
  public var user: UInt32?
  public var group: UInt32?

  public init(tlsName: String? = nil, user: UInt32? = nil, group: UInt32? = nil) {
    self.tlsName = tlsName
    self.user = user
    self.group = group
  }

  func isMeant(by subject: AccessRule.Subject) -> Bool {
    switch subject {
    case .everyone: true
    case .client(let name): tlsName == name || tlsName.flatMap(Self.commonName) == name
    case .user(let user): self.user == user
    case .group(let group): self.group == group
    }
  }

  /// The value of the CN part of a name as RFC 4514 writes it; nil when it has none. An escaped
  /// comma does not end it.
  static func commonName(of distinguishedName: String) -> String? {
    var parts: [String] = [""]
    var isEscaped = false
    for character in distinguishedName {
      if isEscaped {
        parts[parts.count - 1].append(character)
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == "," || character == "+" {
        parts.append("")
      } else {
        parts[parts.count - 1].append(character)
      }
    }
    return parts.first { $0.hasPrefix("CN=") }.map { String($0.dropFirst(3)) }
  }
}

extension DiskConfiguration {
  /// The first rule that means the client decides. Without rules everyone may do everything; with
  /// rules, whom none means may do nothing.
  public func access(for client: ClientIdentity) -> DiskAccess {
    if accessRules.isEmpty { return .readWrite }
    return accessRules.first { client.isMeant(by: $0.subject) }?.access ?? .none
  }
}
