import COpenSSL

/// What a site proves itself with to its peers: a private key (P-256), and a certificate that it
/// has signed itself. They know it by the key alone. The certificate has no name and no time that
/// means something: who is shown it without being a peer learns that this is Tapline, no more.
///
/// Immutable; any thread.
@safe public final class SiteKey: @unchecked Sendable {
  public static let byteLimit = 64 << 10

  let key: OpaquePointer
  let certificate: OpaquePointer
  public let fingerprint: KeyFingerprint

  private init(
    adopting key: OpaquePointer, _ certificate: OpaquePointer, _ fingerprint: KeyFingerprint
  ) {
    unsafe self.key = key
    unsafe self.certificate = certificate
    self.fingerprint = fingerprint
  }

  deinit {
    unsafe EVP_PKEY_free(key)
    unsafe X509_free(certificate)
  }

  /// A new one, which nobody knows.
  public static func make() throws(TLSError) -> SiteKey {
    guard let key = unsafe tapline_EVP_new_key() else { throw TLSError.openSSL("making a key") }
    guard let certificate = unsafe signed(by: key),
      let print = unsafe KeyFingerprint(of: certificate)
    else {
      unsafe EVP_PKEY_free(key)
      throw TLSError.openSSL("making a certificate")
    }
    return unsafe SiteKey(adopting: key, certificate, print)
  }

  private static func signed(by key: OpaquePointer) -> OpaquePointer? {
    guard let certificate = unsafe X509_new() else { return nil }
    let name = unsafe X509_get_subject_name(certificate)
    let isMade =
      unsafe X509_set_version(certificate, 2) == 1
      && ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1
      // RFC 5280, 4.1.2.5: it does not end.
      && ASN1_TIME_set_string(X509_getm_notBefore(certificate), "19700101000000Z") == 1
      && ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z") == 1
      && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, "tapline", -1, -1, 0) == 1
      && X509_set_issuer_name(certificate, name) == 1
      && X509_set_pubkey(certificate, key) == 1
      && X509_sign(certificate, key, EVP_sha256()) > 0
    if isMade { return unsafe certificate }
    unsafe X509_free(certificate)
    return nil
  }

  /// What `pem` was.
  public init(pem bytes: [UInt8]) throws(TLSError) {
    var key: OpaquePointer?
    var certificate: OpaquePointer?
    unsafe bytes.withUnsafeBytes { buffer in
      guard let memory = unsafe BIO_new_mem_buf(buffer.baseAddress, Int32(clamping: buffer.count))
      else { return }
      defer { unsafe BIO_free(memory) }
      // Nobody is asked for a passphrase.
      unsafe key = PEM_read_bio_PrivateKey(memory, nil, { _, _, _, _ in 0 }, nil)
      unsafe certificate = PEM_read_bio_X509(memory, nil, nil, nil)
    }
    guard let key = unsafe key, let certificate = unsafe certificate,
      unsafe X509_check_private_key(certificate, key) == 1,
      let fingerprint = unsafe KeyFingerprint(of: certificate)
    else {
      unsafe EVP_PKEY_free(key)
      unsafe X509_free(certificate)
      throw TLSError.openSSL("it is no key of a site with its certificate")
    }
    unsafe self.key = key
    unsafe self.certificate = certificate
    self.fingerprint = fingerprint
  }

  /// The private key and the certificate, for a file that nobody else can read.
  public func pem() throws(TLSError) -> [UInt8] {
    guard let memory = unsafe BIO_new(BIO_s_mem()) else { throw TLSError.openSSL("writing a key") }
    defer { unsafe BIO_free(memory) }
    var bytes = [UInt8](repeating: 0, count: Self.byteLimit)
    guard unsafe PEM_write_bio_PrivateKey(memory, key, nil, nil, 0, nil, nil) == 1,
      unsafe PEM_write_bio_X509(memory, certificate) == 1
    else { throw TLSError.openSSL("writing a key") }
    let count = unsafe BIO_read(memory, &bytes, Int32(bytes.count))
    return Array(bytes.prefix(Int(max(0, count))))
  }
}
