import BlockModel

/// Reads what a configuration says about TLS and about who may open a disk.
extension ConfigurationField {
  /// An address alone, or a mapping with `address` and what goes with it.
  func nbdListener() throws(ConfigurationError) -> (ConfigurationField, TLSConfiguration?) {
    guard case .mapping = node.content else { return (self, nil) }
    let mapping = try ConfigurationMapping(
      self, subject: "an NBD listener", keys: NBDListenerConfiguration.keyNames)
    return (try mapping.required("address"), try tls(mapping))
  }

  private func tls(
    _ mapping: ConfigurationMapping
  ) throws(ConfigurationError) -> TLSConfiguration? {
    let mode: TLSConfiguration.Mode = try mapping["tls"]?.choice() ?? .off
    let credentials: TLSConfiguration.Credentials
    switch (mapping["certificates"], mapping["keys"]) {
    case (let certificates?, nil):
      credentials = .certificates(
        folder: try certificates.path(),
        verifiesClients: try mapping["verify_clients"]?.boolean() ?? true)
    case (nil, let keys?):
      if let field = mapping["verify_clients"] {
        throw field.failure("'verify_clients' goes with 'certificates'; a key proves its client")
      }
      credentials = .preSharedKeys(file: try keys.path())
    case (_?, let keys?):
      throw keys.failure("a listener has either 'certificates' or 'keys'")
    case (nil, nil):
      if mode == .off { return nil }
      throw failure("'tls: \(mode.rawValue)' needs 'certificates', a folder, or 'keys', a file")
    }
    return mode == .off
      ? nil : TLSConfiguration(isRequired: mode == .required, credentials: credentials)
  }

  func accessRules() throws(ConfigurationError) -> [AccessRule] {
    let items = try list(atMost: ConfigurationLimits.accessRules)
    guard !items.isEmpty else { throw failure("'access' without a rule lets nobody in") }
    var rules: [AccessRule] = []
    for item in items {
      let mapping = try ConfigurationMapping(
        item, subject: "an access rule", keys: AccessRule.keyNames)
      let access: DiskAccess = try mapping.required("allow").choice()
      rules.append(AccessRule(try Self.subject(mapping), access))
    }
    return rules
  }

  private static func subject(
    _ mapping: ConfigurationMapping
  ) throws(ConfigurationError) -> AccessRule.Subject {
    let named = ["client", "uid", "gid"].compactMap { mapping[$0] }
    guard named.count <= 1 else {
      throw named[1].failure("an access rule names one of 'client', 'uid' and 'gid'")
    }
    guard let field = named.first else { return .everyone }
    switch field.key {
    case "uid": return .user(try field.identifier())
    case "gid": return .group(try field.identifier())
    default: return .client(name: try field.text())
    }
  }

  private func identifier() throws(ConfigurationError) -> UInt32 {
    let text = try text()
    guard let number = UInt32(text) else {
      throw failure("'\(key)' needs a number, not \(text.quotedForMessage)")
    }
    return number
  }

  func boolean() throws(ConfigurationError) -> Bool {
    switch try text() {
    case "true", "yes", "on": return true
    case "false", "no", "off": return false
    case let text: throw failure("'\(key)' is true or false, not \(text.quotedForMessage)")
    }
  }
}
