import BlockModel
import Configuration
import Journal
import SystemIO

/// What a branch of a group is, as its file says it (docs/branch-format.md): `branch` in the
/// branch's folder, which is a branch because of that file. Replaced as a whole.
///
/// `TAPLBRAN`, version (32 bits), CRC-32C of what follows (32), then the fields in the order of
/// `encode`, big-endian.
struct BranchRecord: Equatable, Sendable {
  /// A disk as it was at the instant.
  struct Disk: Equatable, Sendable {
    var number: DiskNumber
    var name: String
    var byteCount: UInt64
  }

  static let fileName = "branch"
  private static let magic: UInt64 = 0x5441_504C_4252_414E  // "TAPLBRAN"
  private static let version: UInt32 = 1
  private static let diskLimit = Int(UInt16.max)

  var name: String
  /// 128 random bits: names this branch for ever.
  var identity: GroupIdentifier
  var group: GroupIdentifier
  /// It is built on the group as it was then.
  var instant: Timestamp
  var created: Timestamp
  /// It ends then; nil: when somebody ends it.
  var expiry: Timestamp?
  /// Of what is written to it, and, once more, of what must be saved for it.
  var byteLimit: UInt64
  /// Of its journal.
  var segmentByteCount: UInt64
  /// Who asked for it, and why.
  var user: String
  var note: String
  var disks: [Disk]
  /// The end of the group's order is being dropped, and what the branch is built on may be in it.
  var isInDoubt = false
  /// Why it can be opened no more; nil while it can.
  var ending: String?

  var identityBytes: [UInt8] {
    var encoder = WireEncoder()
    encoder.put(identity.high)
    encoder.put(identity.low)
    return encoder.bytes
  }

  /// The name under which a client opens a disk.
  func exportName(of disk: Disk) -> String { "\(disk.name)@\(name)" }

  // MARK: File

  func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(name)
    for word in [identity.high, identity.low, group.high, group.low] { encoder.put(word) }
    encoder.put(instant.rawValue)
    encoder.put(created.rawValue)
    encoder.put(expiry?.rawValue ?? 0)
    encoder.put(byteLimit)
    encoder.put(segmentByteCount)
    encoder.put(user)
    encoder.put(note)
    encoder.put(ending ?? "")
    encoder.put(UInt8(isInDoubt ? 1 : 0))
    encoder.put(UInt16(disks.count))
    for disk in disks {
      encoder.put(disk.number.rawValue)
      encoder.put(disk.name)
      encoder.put(disk.byteCount)
    }
    var whole = WireEncoder()
    whole.put(Self.magic)
    whole.put(Self.version)
    whole.put(Self.checksum(encoder.bytes))
    whole.put(encoder.bytes)
    return whole.bytes
  }

  enum Unreadable: Error, Equatable { case damaged, otherVersion(UInt32) }

  init(decoding bytes: [UInt8]) throws(Unreadable) {
    let fields: [UInt8]
    let version: UInt32
    let isWhole: Bool
    do {
      var decoder = WireDecoder(bytes)
      let magic = try decoder.take(UInt64.self)
      version = try decoder.take(UInt32.self)
      let sum = try decoder.take(UInt32.self)
      fields = try decoder.takeBytes(decoder.remaining)
      isWhole = magic == Self.magic && (version != Self.version || Self.checksum(fields) == sum)
    } catch { throw .damaged }
    guard isWhole else { throw .damaged }
    guard version == Self.version else { throw .otherVersion(version) }
    do { self = try Self.decode(fields) } catch { throw .damaged }
  }

  private static func decode(
    _ fields: [UInt8]
  ) throws(WireDecoder.Failure) -> BranchRecord {
    var decoder = WireDecoder(fields)
    let name = try decoder.takeString()
    let identity = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
    let group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
    let instant = Timestamp(rawValue: try decoder.take())
    let created = Timestamp(rawValue: try decoder.take())
    let expiry = Timestamp(rawValue: try decoder.take())
    let byteLimit = try decoder.take(UInt64.self)
    let segmentByteCount = try decoder.take(UInt64.self)
    guard (1...ConfigurationLimits.segmentSizeBytes.upperBound).contains(segmentByteCount),
      byteLimit <= UInt64(Int64.max)
    else { throw .tooShort }
    let user = try decoder.takeString()
    let note = try decoder.takeString()
    let ending = try decoder.takeString()
    let isInDoubt = try decoder.take(UInt8.self) == 1
    var disks: [Disk] = []
    for _ in 0..<(try decoder.take(UInt16.self)) {
      disks.append(
        Disk(
          number: DiskNumber(try decoder.take()), name: try decoder.takeString(),
          byteCount: try decoder.take()))
    }
    var record = BranchRecord(
      name: name, identity: identity, group: group, instant: instant, created: created,
      expiry: expiry == .zero ? nil : expiry, byteLimit: byteLimit,
      segmentByteCount: segmentByteCount, user: user, note: note, disks: disks,
      ending: ending.isEmpty ? nil : ending)
    record.isInDoubt = isInDoubt
    return record
  }

  init(
    name: String, identity: GroupIdentifier, group: GroupIdentifier, instant: Timestamp,
    created: Timestamp, expiry: Timestamp?, byteLimit: UInt64, segmentByteCount: UInt64,
    user: String, note: String, disks: [Disk], ending: String? = nil
  ) {
    self.name = name
    self.identity = identity
    self.group = group
    self.instant = instant
    self.created = created
    self.expiry = expiry
    self.byteLimit = byteLimit
    self.segmentByteCount = segmentByteCount
    self.user = user
    self.note = note
    self.disks = disks
    self.ending = ending
  }

  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe CRC32C.standard($0) }
  }

  /// Whether the folder is a branch's, though perhaps it cannot be opened.
  static func exists(in folder: String) -> Bool { Directory.exists("\(folder)/\(fileName)") }

  /// Replaces the file. Durable when it returns. Blocks.
  func write(to folder: String) throws(Errno) {
    try DurableFile.replace("\(folder)/\(Self.fileName)", with: encoded())
  }

  /// Nil, and the reason is logged, when it is damaged. Blocks.
  static func read(
    from folder: String, log: (String) -> Void
  ) throws(SiteError) -> BranchRecord? {
    let path = "\(folder)/\(fileName)"
    let bytes: [UInt8]
    do throws(Errno) { bytes = try DurableFile.read(path, limit: 1 << 20) } catch {
      throw SiteError("\(path): \(error.withAdvice)")
    }
    do throws(Unreadable) { return try BranchRecord(decoding: bytes) } catch {
      switch error {
      case .damaged:
        log(
          "\(path) is damaged: what was written to the branch may be whole beside it, and "
            + "`tapline journal export --salvage` gets it out")
        return nil
      case .otherVersion(let found):
        throw SiteError("\(path) \(FormatVersion.advice(found, own: version))")
      }
    }
  }
}

/// Small files that are replaced as a whole: after a crash there is the old content or the new one.
enum DurableFile {
  /// Durable when it returns. Blocks; one caller at a time for each path.
  static func replace(_ path: String, with bytes: [UInt8]) throws(Errno) {
    let unfinished = path + ".new"
    if Directory.exists(unfinished) { try Directory.remove(unfinished) }
    let file = try File(creating: unfinished)
    let written = unsafe bytes.withUnsafeBytes { buffer -> Result<Void, Errno> in
      do throws(Errno) { return .success(try unsafe file.write(buffer, at: 0)) } catch {
        return .failure(error)
      }
    }
    try written.get()
    try file.syncAll()
    try Directory.rename(unfinished, to: path)
    try Directory.sync(path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ".")
  }

  /// At most `limit` bytes. Blocks.
  static func read(_ path: String, limit: Int) throws(Errno) -> [UInt8] {
    let file = try File(opening: path, .readOnly)
    let count = min(limit, Int(try file.size()))
    var bytes = [UInt8](repeating: 0, count: count)
    let read = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Int, Errno> in
      do throws(Errno) { return .success(try unsafe file.read(into: buffer, at: 0)) } catch {
        return .failure(error)
      }
    }
    return Array(bytes.prefix(try read.get()))
  }
}
