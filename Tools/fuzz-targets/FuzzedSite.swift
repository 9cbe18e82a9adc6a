import Appliance
import Configuration
import Glibc
import NBDProtocol
import SystemIO

/// A site with one protected group of one disk, on a file system in memory, and with a journal so
/// small that it is always full. It serves all inputs of a process; each begins with a disk of
/// zeros.
final class FuzzedSite: Sendable {
  private static let folder = "/dev/shm/tapline-fuzz-\(getpid())"
  private static let segmentBytes: UInt64 = 64 << 10
  private static let diskBytes = GroupTarget.regionBytes * (GroupTarget.clientLimit + 1)
  /// What takes longer hangs.
  private static let patienceMilliseconds = 60_000

  private let site: Site
  /// A client that all others may not disturb.
  private let witness: FuzzedLink

  private static let started: Result<FuzzedSite, FuzzViolation> = {
    do throws(FuzzViolation) { return .success(try FuzzedSite()) } catch { return .failure(error) }
  }()

  static func shared() throws(FuzzViolation) -> FuzzedSite { try started.get() }

  private init() throws(FuzzViolation) {
    let folder = Self.folder
    let disk = "\(folder)/disk.raw"
    try mustSucceed("making \(disk)") { () throws(Errno) in
      try Directory.create(folder)
      try File(creating: disk).truncate(to: UInt64(Self.diskBytes))
    }
    // Nothing of it is wanted any more; processes that were killed leave it.
    atexit { FuzzedSite.removeFolder() }
    let group = GroupConfiguration(
      name: "g", role: .protected, historyNanoseconds: 0, applyEveryNanoseconds: 50_000_000,
      journal: JournalConfiguration(
        capacityBytes: Self.segmentBytes * 4, segmentSizeBytes: Self.segmentBytes),
      disks: [
        DiskConfiguration(
          name: "disk", sizeBytes: UInt64(Self.diskBytes), backing: .file(path: disk))
      ])
    let configuration = SiteConfiguration(
      site: "fuzzed", dataDirectory: "\(folder)/data",
      listen: ListenConfiguration(
        nbd: [NBDListenerConfiguration(address: .unix(path: "\(folder)/nbd"))]),
      groups: [group])
    site = try mustSucceed("the start of a site") { () throws(SiteError) in
      try Site.start(configuration) { _ in }
    }
    witness = try FuzzedLink(unix: "\(folder)/nbd")
  }

  private static func removeFolder() {
    for part in ["data/g", "data", ""] {
      let folder = part.isEmpty ? Self.folder : "\(Self.folder)/\(part)"
      for name in (try? Directory.names(in: folder)) ?? [] {
        _ = unsafe unlink("\(folder)/\(name)")
      }
      _ = unsafe rmdir(folder)
    }
  }

  func connect() throws(FuzzViolation) -> FuzzedLink {
    try FuzzedLink(unix: "\(Self.folder)/nbd")
  }

  /// The whole disk is zeros when it returns.
  func clear() throws(FuzzViolation) {
    let bytes = FuzzedLink.request(
      4, flags: 0, cookie: 1, offset: 0, length: UInt32(Self.diskBytes))
    try require(witness.send(bytes), "the witness is cut off")
    _ = try witness.receive(16)
  }

  /// All clients are gone but the witness. What they have sent is executed then, or never will be,
  /// and the disk is what the model says.
  func check(_ model: [UInt8?]) throws(FuzzViolation) {
    var left = 0
    for _ in 0..<Self.patienceMilliseconds / 2 {
      left = site.status().groups.first?.disks.first?.connections ?? 0
      if left == 1 { break }
      usleep(2_000)
    }
    try require(left == 1, "\(left) clients are there, and should be one")
    let bytes = FuzzedLink.request(0, flags: 0, cookie: 2, offset: 0, length: UInt32(model.count))
    try require(witness.send(bytes), "the witness is cut off")
    let reply = try witness.receive(16 + model.count)
    try require(reply[4..<8].allSatisfy { $0 == 0 }, "the witness cannot read")
    for (offset, (there, wanted)) in zip(reply.dropFirst(16), model).enumerated() {
      guard let wanted, there != wanted else { continue }
      throw FuzzViolation("byte \(offset) of the disk is \(there), and \(wanted) was written")
    }
  }
}

/// A client's connection in the transmission phase, with simple replies.
final class FuzzedLink: Sendable {
  private let socket: Socket

  init(unix path: String) throws(FuzzViolation) {
    socket = try mustSucceed("connecting") { () throws(Errno) in
      try Socket.connect(to: .unix(path: path))
    }
    socket.setTimeouts(seconds: 60)
    _ = try receive(18)
    let go = Self.bytes(NBDMagic.option) + Self.bytes(UInt32(7)) + Self.bytes(UInt32(10))
    let name = Self.bytes(UInt32(4)) + Array("disk".utf8) + [0, 0]
    try require(send([0, 0, 0, 3] + go + name), "cut off in the handshake")
    while true {
      let header = try receive(20)
      let length = header[16...].reduce(0) { $0 << 8 | Int($1) }
      if length > 0 { _ = try receive(length) }
      try require(header[12] == 0, "the export is refused")
      if header[15] == 1 { return }
    }
  }

  static func request(
    _ command: UInt16, flags: UInt16, cookie: UInt64, offset: UInt64, length: UInt32
  ) -> [UInt8] {
    bytes(NBDMagic.request) + bytes(flags) + bytes(command) + bytes(cookie) + bytes(offset)
      + bytes(length)
  }

  private static func bytes<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    unsafe withUnsafeBytes(of: value.bigEndian) { unsafe Array($0) }
  }

  /// False when the server has closed the connection.
  func send(_ bytes: [UInt8]) -> Bool {
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(Errno) {
        try unsafe socket.sendAll(buffer)
        return true
      } catch { return false }
    }
  }

  func receive(_ count: Int) throws(FuzzViolation) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let missing = count - bytes.count
      let piece = try mustSucceed("receiving") { () throws(Errno) in
        try socket.receive(limit: missing)
      }
      guard let piece, !piece.isEmpty else { throw FuzzViolation("cut off, or no answer") }
      bytes += piece
    }
    return bytes
  }

  /// Waits until the server ends the connection; false when it does not.
  func isCutOff() -> Bool {
    while true {
      do throws(Errno) {
        guard let piece = try socket.receive(limit: 64 << 10) else { return false }
        if piece.isEmpty { return true }
      } catch { return true }
    }
  }

  func close() { socket.shutDown() }
}
