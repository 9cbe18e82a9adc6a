import BlockModel
import Configuration
import Synchronization
import SystemIO
import TLS

/// Whom this site knows by their keys, and what it proves itself with to them.
///
/// Any thread. What reads or writes files blocks; sessions are made without.
final class SiteTrust: Sendable {
  private struct State {
    var key: SiteKey?
    var context: TLSContext?
    var peers = PeerTable()
    var offer: PairingOffer?
  }

  let site: String
  /// Some link is encrypted.
  private let isUsed: Bool
  private let folder: String
  private let state = Mutex(State())
  /// Of those that write files.
  private let turn = Turn()
  /// Answers those who introduce themselves.
  let worker = WorkerPool(name: "pairing", threadLimit: 1)

  private var keyFile: String { "\(folder)/key.pem" }
  private var peersFile: String { "\(folder)/peers" }

  // MARK: Opening

  /// Where a link is encrypted, reads the files. Without a key of its own the site is not ready:
  /// see `makeKeyIfNone`.
  init(_ configuration: SiteConfiguration) throws(SiteError) {
    site = configuration.site
    // No group can have that name.
    folder = "\(configuration.dataDirectory)/_trust"
    let addresses =
      [configuration.listen.link].compactMap(\.self)
      + configuration.groups.flatMap(\.peers).compactMap(\.address)
    isUsed = addresses.contains(where: configuration.links.isEncrypted)
    try readFiles()
  }

  /// What another process has changed until now counts, too.
  func readFiles() throws(SiteError) {
    guard isUsed else { return }
    try readPeers()
    if Directory.exists(keyFile) { try readKey() }
  }

  /// Before the first session, by the one process that has the site's groups.
  func makeKeyIfNone(log: (String) -> Void) throws(SiteError) {
    guard isUsed, fingerprint == nil else { return }
    try makeKey()
    let others = peers.map(\.site)
    log(
      "this site has made a key, by which other sites know it, \(keyFile)"
        + (others.isEmpty
          ? ""
          : ": \(others.joined(separator: ", ")) knew another one; unpair it there, and pair again")
    )
  }

  private func readPeers() throws(SiteError) {
    guard Directory.exists(peersFile) else { return }
    let bytes: [UInt8]
    do throws(Errno) {
      bytes = try File.contents(of: peersFile, limit: PeerTable.byteLimit)
    } catch { throw SiteError("reading \(peersFile): \(error.withAdvice)") }
    guard let table = PeerTable(parsing: String(decoding: bytes, as: UTF8.self)) else {
      throw SiteError(
        "\(peersFile), which has the keys of other sites, is damaged: remove it, and pair the "
          + "sites again (`tapline pair`)")
    }
    state.withLock { $0.peers = table }
  }

  private func readKey() throws(SiteError) {
    do throws(TLSError) {
      let bytes = try SecretFile.read(keyFile, limit: SiteKey.byteLimit)
      do throws(TLSError) { try use(try SiteKey(pem: bytes)) } catch {
        throw TLSError(
          "\(keyFile): \(error). Put a copy of it back; or remove it, and pair the sites again")
      }
    } catch { throw SiteError("the key of this site: \(error)") }
  }

  private func use(_ key: SiteKey) throws(TLSError) {
    let context = try TLSContext(key) { [weak self] in self?.mayEnter($0) == true }
    state.withLock { state in
      state.key = key
      state.context = context
    }
  }

  private func makeKey() throws(SiteError) {
    do {
      let key = try SiteKey.make()
      try Directory.create(folder)
      try DurableFile.replace(keyFile, with: try key.pem())
      try use(key)
    } catch {
      let text = (error as? Errno)?.withAdvice ?? "\(error)"
      throw SiteError("making the key of this site, \(keyFile): \(text)")
    }
  }

  // MARK: Sessions

  /// Whoever has that key is a peer, or may introduce itself.
  private func mayEnter(_ key: KeyFingerprint) -> Bool {
    let now = SystemClock.monotonicNanoseconds()
    return state.withLock { state in
      state.peers.name(of: key) != nil || state.offer?.isOpen(now: now) == true
    }
  }

  /// With whoever has connected.
  func session(with socket: Socket) throws(TLSError) -> TLSSession {
    try TLSSession(try ready(), on: socket)
  }

  func knows(_ site: String) -> Bool { state.withLock { $0.peers.key(of: site) != nil } }

  /// With a site that was connected to.
  func session(with socket: Socket, of site: String) throws(TLSError) -> TLSSession {
    guard let key = state.withLock({ $0.peers.key(of: site) }) else {
      throw TLSError("\(site) is not paired with this site: see `tapline pair`")
    }
    return try TLSSession(try ready(), to: socket) { $0 == key }
  }

  private func ready() throws(TLSError) -> TLSContext {
    guard let context = state.withLock(\.context) else { preconditionFailure("it has a key") }
    return context
  }

  /// The site that has proved to have the key; nil: it is not paired.
  func name(of session: TLSSession) -> String? {
    guard let key = session.peerKey else { return nil }
    return state.withLock { $0.peers.name(of: key) }
  }

  // MARK: Pairing

  private static let unencrypted = SiteError(
    "no link of this site is encrypted: all go over unix sockets, or its configuration has "
      + "'tls: off' under 'links'")

  var fingerprint: KeyFingerprint? { state.withLock { $0.key?.fingerprint } }
  var peers: [PeerTable.Peer] { state.withLock(\.peers.peers) }

  /// Lets one site introduce itself. A code that was given before is void.
  func offer() throws(SiteError) -> PairingCode {
    guard let fingerprint else { throw Self.unencrypted }
    var generator = SystemEntropy()
    let secret = (0..<PairingCode.secretByteCount).map { _ in
      UInt8.random(in: .min ... .max, using: &generator)
    }
    let now = SystemClock.monotonicNanoseconds()
    state.withLock { $0.offer = PairingOffer(secret: secret, now: now) }
    return PairingCode(for: fingerprint, secret: secret)
  }

  /// What this site is to prove when it introduces itself to the one of which the code is.
  func session(with socket: Socket, of code: PairingCode) throws(SiteError) -> TLSSession {
    guard let context = state.withLock(\.context) else { throw Self.unencrypted }
    do throws(TLSError) {
      return try TLSSession(context, to: socket) { code.isOf($0) }
    } catch { throw SiteError("\(error)") }
  }

  /// Some site introduces itself. Durable when it returns; throws in words for it.
  func accept(_ other: String, _ key: KeyFingerprint, secret: [UInt8]) throws(SiteError) {
    let now = SystemClock.monotonicNanoseconds()
    guard state.withLock({ $0.offer?.take(secret, now: now) == true }) else {
      throw SiteError(
        "the code is wrong, was used or has run out: ask for another (`tapline pair`)")
    }
    try pair(other, key)
    // Not one that was made meanwhile.
    state.withLock { if $0.offer?.secret == secret { $0.offer = nil } }
  }

  /// Durable when it returns.
  func pair(_ other: String, _ key: KeyFingerprint) throws(SiteError) {
    guard other != site else {
      throw SiteError("both sites are named \(site): give one of them another name")
    }
    guard key != fingerprint else {
      throw SiteError(
        "\(other) has the key of this site: one of the two was made from a copy of the other's "
          + "data folder; remove `_trust` there, and start it again")
    }
    try change { peers throws(SiteError) in
      if let obstacle = peers.obstacle(to: other, key) { throw SiteError("\(site): \(obstacle)") }
      peers.note(other, key, now: Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()))
    }
  }

  /// Durable when it returns.
  func unpair(_ other: String) throws(SiteError) {
    try change { peers throws(SiteError) in
      guard peers.key(of: other) != nil else {
        throw SiteError("\(other.quotedForMessage) is not paired with this site")
      }
      peers.remove(other)
    }
  }

  private func change(_ edit: (inout PeerTable) throws(SiteError) -> Void) throws(SiteError) {
    guard fingerprint != nil else { throw Self.unencrypted }
    try turn.take { () throws(SiteError) in
      var peers = state.withLock(\.peers)
      try edit(&peers)
      do throws(Errno) {
        try DurableFile.replace(peersFile, with: Array(peers.text.utf8))
      } catch { throw SiteError("writing \(peersFile): \(error.withAdvice)") }
      state.withLock { $0.peers = peers }
    }
  }
}
