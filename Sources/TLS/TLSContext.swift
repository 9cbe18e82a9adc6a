import COpenSSL
import SystemIO

/// What one end proves itself with and asks of the other; one for many sessions.
///
/// Immutable after `init`; any thread may start sessions with it. TLS 1.2 or later only, between
/// sites 1.3; sessions are not resumed, because connections are few and long.
@safe public final class TLSContext: @unchecked Sendable {
  public enum Credentials: Equatable, Sendable {
    /// A folder as qemu and nbdkit lay it out: `ca-cert.pem`, `server-cert.pem`, `server-key.pem`
    /// and, if there, `ca-crl.pem`.
    case certificates(folder: String, verifiesClients: Bool)
    /// A file of `NAME:KEY` lines.
    case preSharedKeys(file: String)
  }

  let raw: OpaquePointer
  /// Kept for the callback, which finds it through the context.
  private let keys: KeyTable?
  /// Which sites may come; nil: they are not known by their keys.
  let accepts: (@Sendable (KeyFingerprint) -> Bool)?

  /// Reads the files; blocks. The error names the file.
  public init(_ credentials: Credentials) throws(TLSError) {
    guard let raw = unsafe SSL_CTX_new(TLS_server_method()) else {
      throw TLSError.openSSL("creating a TLS context")
    }
    unsafe self.raw = raw
    var table: KeyTable?
    if case .preSharedKeys(let file) = credentials { table = KeyTable(try Self.readKeys(file)) }
    keys = table
    accepts = nil
    _ = unsafe tapline_SSL_CTX_set_defaults(raw)
    switch credentials {
    case .certificates(let folder, let verifiesClients):
      try loadCertificates(folder, verifiesClients: verifiesClients)
    case .preSharedKeys:
      try usePreSharedKeys()
    }
  }

  /// For both ends of what sites have with each other.
  ///
  /// - Parameter accepts: called in a handshake, on its thread: whether whoever has that key may
  ///   connect.
  public init(
    _ own: SiteKey, accepting accepts: @escaping @Sendable (KeyFingerprint) -> Bool
  ) throws(TLSError) {
    guard let raw = unsafe SSL_CTX_new(TLS_method()) else {
      throw TLSError.openSSL("creating a TLS context")
    }
    unsafe self.raw = raw
    keys = nil
    self.accepts = accepts
    guard unsafe tapline_SSL_CTX_set_defaults(raw) == 1,
      unsafe tapline_SSL_CTX_set_newest_only(raw) == 1,
      unsafe SSL_CTX_use_certificate(raw, own.certificate) == 1,
      unsafe SSL_CTX_use_PrivateKey(raw, own.key) == 1
    else { throw TLSError.openSSL("using the key of the site") }
    unsafe SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
    unsafe SSL_CTX_set_cert_verify_callback(
      raw,
      { store, _ in
        guard let store = unsafe store,
          let session = unsafe X509_STORE_CTX_get_ex_data(
            store, SSL_get_ex_data_X509_STORE_CTX_idx()),
          let certificate = unsafe X509_STORE_CTX_get0_cert(store),
          let key = unsafe KeyFingerprint(of: certificate),
          unsafe TLSSession.accepts(key, OpaquePointer(session))
        else {
          unsafe X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)
          return 0
        }
        return 1
      }, nil)
  }

  deinit { unsafe SSL_CTX_free(raw) }

  // MARK: Certificates

  private func loadCertificates(
    _ folder: String, verifiesClients: Bool
  ) throws(TLSError) {
    let certificate = "\(folder)/server-cert.pem"
    let key = "\(folder)/server-key.pem"
    let authority = "\(folder)/ca-cert.pem"
    guard unsafe SSL_CTX_use_certificate_chain_file(raw, certificate) == 1 else {
      throw TLSError.openSSL("reading the certificate \(certificate)")
    }
    try SecretFile.check(key)
    guard unsafe SSL_CTX_use_PrivateKey_file(raw, key, SSL_FILETYPE_PEM) == 1 else {
      throw TLSError.openSSL("reading the private key \(key)")
    }
    guard unsafe SSL_CTX_check_private_key(raw) == 1 else {
      throw TLSError.openSSL("\(key) does not belong to \(certificate)")
    }
    guard verifiesClients else { return }
    guard unsafe SSL_CTX_load_verify_file(raw, authority) == 1 else {
      throw TLSError.openSSL("reading the certificate authority \(authority)")
    }
    unsafe SSL_CTX_set_client_CA_list(raw, SSL_load_client_CA_file(authority))
    unsafe SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
    try loadRevocations("\(folder)/ca-crl.pem")
  }

  private func loadRevocations(_ file: String) throws(TLSError) {
    guard Directory.exists(file) else { return }
    guard let store = unsafe SSL_CTX_get_cert_store(raw),
      let lookup = unsafe X509_STORE_add_lookup(store, X509_LOOKUP_file()),
      unsafe X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) > 0
    else { throw TLSError.openSSL("reading the revocation list \(file)") }
    _ = unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_CRL_CHECK))
  }

  // MARK: Keys

  /// A class, so that C can hold a pointer to it.
  private final class KeyTable: Sendable {
    let keys: PreSharedKeys
    init(_ keys: PreSharedKeys) { self.keys = keys }
  }

  private static func readKeys(_ file: String) throws(TLSError) -> PreSharedKeys {
    let text = String(decoding: try SecretFile.read(file, limit: 1 << 20), as: UTF8.self)
    return try PreSharedKeys(parsing: text, file: file)
  }

  private func usePreSharedKeys() throws(TLSError) {
    guard let keys else { return }
    // Only suites that begin with a key: there is no certificate to show.
    guard unsafe SSL_CTX_set_cipher_list(raw, "kECDHEPSK:kDHEPSK:@STRENGTH") == 1 else {
      throw TLSError.openSSL("choosing TLS ciphers")
    }
    _ = unsafe SSL_CTX_set_ex_data(raw, 0, Unmanaged.passUnretained(keys).toOpaque())
    unsafe SSL_CTX_set_psk_server_callback(raw) { session, identity, target, limit in
      guard let session = unsafe session, let identity = unsafe identity,
        let target = unsafe target,
        let context = unsafe SSL_get_SSL_CTX(session),
        let pointer = unsafe SSL_CTX_get_ex_data(context, 0)
      else { return 0 }
      let table = unsafe Unmanaged<KeyTable>.fromOpaque(pointer).takeUnretainedValue()
      let name = unsafe String(cString: identity)
      guard let key = table.keys.key(of: name), key.count <= Int(limit) else { return 0 }
      unsafe key.withUnsafeBytes { source in
        if let base = source.baseAddress {
          unsafe UnsafeMutableRawPointer(target).copyMemory(from: base, byteCount: key.count)
        }
      }
      unsafe TLSSession.keyUsed(name, by: session)
      return UInt32(key.count)
    }
  }
}
