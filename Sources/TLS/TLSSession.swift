import COpenSSL
import SystemIO

/// One end of TLS on one connected, nonblocking socket.
///
/// Confined to whoever owns the socket, one thread at a time. Decrypted bytes may wait inside the
/// session where the poller does not see them: after `receive`, ask `hasBufferedInput`.
@safe public final class TLSSession: @unchecked Sendable {
  private let raw: OpaquePointer
  private let context: TLSContext
  private let socket: Socket
  private let accepts: (@Sendable (KeyFingerprint) -> Bool)?
  /// Of a site: the key that it has proved to have.
  public private(set) var peerKey: KeyFingerprint?
  /// It has shown a key, be it one that is not accepted.
  public private(set) var hasSeenPeer = false
  /// The name of the key that the client has used; TLS 1.3 does not keep it.
  private(set) var keyName: String?
  /// After so many bytes this end sends with another key.
  var keyByteCount: UInt64 = 64 << 30
  private var sentSinceKey: UInt64 = 0
  /// The peer has ended it because it does not know the key that it was shown.
  public private(set) var wasRejected = false

  /// The end of whoever was connected to.
  public convenience init(_ context: TLSContext, on socket: Socket) throws(TLSError) {
    try self.init(context, on: socket, accepting: context.accepts)
    unsafe SSL_set_accept_state(raw)
  }

  /// The end of whoever has connected, to a site that has one of certain keys.
  public convenience init(
    _ context: TLSContext, to socket: Socket,
    accepting accepts: @escaping @Sendable (KeyFingerprint) -> Bool
  ) throws(TLSError) {
    try self.init(context, on: socket, accepting: accepts)
    unsafe SSL_set_connect_state(raw)
  }

  private init(
    _ context: TLSContext, on socket: Socket,
    accepting accepts: (@Sendable (KeyFingerprint) -> Bool)?
  ) throws(TLSError) {
    guard let raw = unsafe SSL_new(context.raw) else {
      throw TLSError.openSSL("creating a TLS session")
    }
    unsafe self.raw = raw
    self.context = context
    self.socket = socket
    self.accepts = accepts
    Socket.brokenPipesAreErrors
    guard unsafe SSL_set_fd(raw, socket.rawDescriptor) == 1 else {
      throw TLSError.openSSL("creating a TLS session")
    }
    // For `keyUsed`; OpenSSL calls back only inside of calls on this session.
    _ = unsafe SSL_set_ex_data(raw, 0, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit { unsafe SSL_free(raw) }

  static func keyUsed(_ name: String, by raw: OpaquePointer) {
    guard let pointer = unsafe SSL_get_ex_data(raw, 0) else { return }
    unsafe Unmanaged<TLSSession>.fromOpaque(pointer).takeUnretainedValue().keyName = name
  }

  static func accepts(_ key: KeyFingerprint, _ raw: OpaquePointer) -> Bool {
    guard let pointer = unsafe SSL_get_ex_data(raw, 0) else { return false }
    let session = unsafe Unmanaged<TLSSession>.fromOpaque(pointer).takeUnretainedValue()
    session.hasSeenPeer = true
    guard session.accepts?(key) == true else { return false }
    session.peerKey = key
    return true
  }

  /// One step of the handshake. Returns what the next one waits for; nil: it is complete. Throws
  /// when the peer cannot prove itself or speaks no TLS.
  public func handshake() throws(TLSError) -> Poller.Interest? {
    ERR_clear_error()
    let code = unsafe SSL_do_handshake(raw)
    if code == 1 { return nil }
    switch unsafe SSL_get_error(raw, code) {
    case SSL_ERROR_WANT_READ: return .readable
    case SSL_ERROR_WANT_WRITE: return .writable
    case SSL_ERROR_SYSCALL, SSL_ERROR_ZERO_RETURN:
      throw TLSError("the \(peer) left during the TLS handshake")
    default:
      noteRejection()
      let verdict = unsafe SSL_get_verify_result(raw)
      if verdict != Int(X509_V_OK), let text = unsafe X509_verify_cert_error_string(verdict) {
        ERR_clear_error()
        throw TLSError("the \(peer)'s certificate: \(unsafe String(cString: text))")
      }
      throw TLSError.openSSL("TLS handshake")
    }
  }

  private var peer: String { accepts == nil ? "client" : "peer" }

  private func noteRejection() {
    wasRejected = wasRejected || tapline_is_rejection(ERR_peek_error()) != 0
  }

  /// The name that the client has proved: the subject of its certificate (RFC 4514, such as
  /// `CN=host1,O=shop`) or the name of its key; nil when it proved none.
  public var clientName: String? {
    if let keyName { return keyName }
    guard let certificate = unsafe SSL_get1_peer_certificate(raw) else { return nil }
    defer { unsafe X509_free(certificate) }
    guard let memory = unsafe BIO_new(BIO_s_mem()) else { return nil }
    defer { unsafe BIO_free(memory) }
    guard
      unsafe tapline_X509_NAME_print_rfc2253(memory, X509_get_subject_name(certificate)) >= 0
    else { return nil }
    var text = [UInt8](repeating: 0, count: 1024)
    let count = unsafe BIO_read(memory, &text, Int32(text.count))
    return count > 0 ? String(decoding: text.prefix(Int(count)), as: UTF8.self) : nil
  }

  /// As `Socket.receive`, but fills the buffer as far as it can.
  public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int? {
    var done = 0
    while done < buffer.count {
      ERR_clear_error()
      let room = Int32(clamping: buffer.count - done)
      let count = unsafe SSL_read(raw, buffer.baseAddress.map { unsafe $0 + done }, room)
      if count > 0 {
        done += Int(count)
        continue
      }
      // What was received before the end counts first; the end is met again.
      if done > 0 { break }
      // No honest site makes another one write before it may read.
      if accepts != nil, unsafe SSL_get_error(raw, count) == SSL_ERROR_WANT_WRITE {
        throw Errno.protocolError
      }
      return try end(count)
    }
    return done
  }

  /// As `Socket.send`.
  public func send(_ buffer: UnsafeRawBufferPointer) throws(Errno) -> Int? {
    if unsafe buffer.isEmpty { return 0 }
    ERR_clear_error()
    renewKey()
    let count = unsafe SSL_write(raw, buffer.baseAddress, Int32(clamping: buffer.count))
    if count > 0 {
      sentSinceKey += UInt64(count)
      return Int(count)
    }
    do throws(Errno) {
      guard try end(count) == nil else { throw Errno.brokenPipe }
    } catch {
      hearLastWords()
      throw error
    }
    return nil
  }

  /// The peer may have said why it ended, before it did.
  private func hearLastWords() {
    guard accepts != nil else { return }
    var byte: UInt8 = 0
    ERR_clear_error()
    if unsafe SSL_read(raw, &byte, 1) <= 0 { noteRejection() }
    ERR_clear_error()
  }

  /// Links live for months, and a key of AES-GCM is good for some 400 GB (RFC 8446, 5.5).
  private func renewKey() {
    guard accepts != nil, sentSinceKey >= keyByteCount else { return }
    if unsafe SSL_key_update(raw, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 { sentSinceKey = 0 }
  }

  /// Bytes have been decrypted that no readiness will announce. A part of a record does not count:
  /// the rest of it makes the socket ready.
  public var hasBufferedInput: Bool { unsafe SSL_pending(raw) > 0 }

  /// Tells the peer that nothing follows. Does not wait.
  public func sayGoodbye() {
    ERR_clear_error()
    _ = unsafe SSL_shutdown(raw)
  }

  /// What a call that returned `code` means: nil: nothing now; 0: the peer has closed.
  private func end(_ code: Int32) throws(Errno) -> Int? {
    switch unsafe SSL_get_error(raw, code) {
    case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return nil
    case SSL_ERROR_ZERO_RETURN: return 0
    case SSL_ERROR_SYSCALL:
      let error = Errno.current
      ERR_clear_error()
      throw error == Errno(0) ? Errno.connectionReset : error
    default:
      noteRejection()
      ERR_clear_error()
      throw Errno.protocolError
    }
  }
}
