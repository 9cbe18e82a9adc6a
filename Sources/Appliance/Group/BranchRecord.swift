import BlockModel
import Configuration
import Journal
import SystemIO

/// What a branch of a group is, as its file says it (docs/branch-format.md): `branch` in the
/// branch's folder, which is a branch because of that file. Replaced as a whole.
///
/// A `SealedForm`, `TAPLBRAN`: the fields in the order of `encoded`, big-endian.
struct BranchRecord: Equatable, Sendable {
  /// A disk as it was at the instant.
  struct Disk: Equatable, Sendable {
    var number: DiskNumber
    var name: String
    var byteCount: UInt64
  }

  /// What it was made for.
  enum Kind: UInt8, Sendable {
    /// To be written to, and deleted in the end.
    case test = 1
    /// Records that were acknowledged and are not in the group's order any more: to be read.
    case parked = 2
  }

  static let fileName = "branch"
  private static let form = SealedForm(magic: 0x5441_504C_4252_414E, version: 3)  // "TAPLBRAN"
  /// It is built on what the group has at its instant.
  private static let formWithoutBase = SealedForm(magic: form.magic, version: 2)
  /// It has no kind either: all of it are tests.
  private static let formWithoutKind = SealedForm(magic: form.magic, version: 1)
  private static let diskLimit = Int(UInt16.max)

  var name: String
  /// 128 random bits: names this branch for ever.
  var identity: GroupIdentifier
  var group: GroupIdentifier
  /// What it begins with: the group as it was then.
  var instant: Timestamp
  /// The group's records up to then are beneath it. Of what is parked it is the time of the last
  /// record before it, which may be earlier than the instant: whoever owns the group next may stamp
  /// what lies between.
  var base: Timestamp
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
  var kind = Kind.test
  /// It is built on the group's disks as they were when it was made, when all of the group's order
  /// was applied, and on nothing of that order: which may have become another since.
  var isApart = false
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

  /// It can be opened, and shows records after that time, if there are any.
  func isBuiltOn(after time: Timestamp) -> Bool { ending == nil && !isApart && base > time }

  /// For people.
  var title: String {
    switch kind {
    case .test: "test \(name)"
    case .parked: "what is parked as \(name)"
    }
  }

  /// The name under which a client opens a disk.
  func exportName(of disk: Disk) -> String { "\(disk.name)@\(name)" }

  /// The names under which clients open its disks.
  var exports: [String] {
    disks.map { kind == .parked ? "\(exportName(of: $0))@latest" : exportName(of: $0) }
  }

  // MARK: File

  func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(kind.rawValue)
    encoder.put(UInt8(isApart ? 1 : 0))
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
    encoder.put(base.rawValue)
    return Self.form.seal(encoder.bytes)
  }

  init(decoding bytes: [UInt8]) throws(SealedForm.Unreadable) {
    let fields: [UInt8]
    do throws(SealedForm.Unreadable) { fields = try Self.form.open(bytes) } catch {
      switch error {
      case .otherVersion(Self.formWithoutBase.version):
        fields = try Self.formWithoutBase.open(bytes)
      case .otherVersion(Self.formWithoutKind.version):
        fields = [Kind.test.rawValue, 0] + (try Self.formWithoutKind.open(bytes))
      default: throw error
      }
    }
    do { self = try Self.decode(fields) } catch { throw .damaged }
  }

  private static func decode(
    _ fields: [UInt8]
  ) throws(WireDecoder.Failure) -> BranchRecord {
    var decoder = WireDecoder(fields)
    guard let kind = Kind(rawValue: try decoder.take()) else { throw .tooShort }
    let isApart = try decoder.take(UInt8.self) == 1
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
      segmentByteCount: segmentByteCount, user: user, note: note, disks: disks, kind: kind,
      ending: ending.isEmpty ? nil : ending)
    if decoder.remaining > 0 { record.base = Timestamp(rawValue: try decoder.take()) }
    record.isApart = isApart
    record.isInDoubt = isInDoubt
    return record
  }

  init(
    name: String, identity: GroupIdentifier, group: GroupIdentifier, instant: Timestamp,
    created: Timestamp, expiry: Timestamp?, byteLimit: UInt64, segmentByteCount: UInt64,
    user: String, note: String, disks: [Disk], kind: Kind = .test, ending: String? = nil
  ) {
    self.name = name
    self.identity = identity
    self.group = group
    self.instant = instant
    base = instant
    self.created = created
    self.expiry = expiry
    self.byteLimit = byteLimit
    self.segmentByteCount = segmentByteCount
    self.user = user
    self.note = note
    self.disks = disks
    self.kind = kind
    self.ending = ending
  }

  /// Whether the folder is a branch's, though perhaps it cannot be opened.
  static func exists(in folder: String) -> Bool { Directory.exists("\(folder)/\(fileName)") }

  /// Replaces the file. Durable when it returns. Blocks.
  func write(to folder: String) throws(Errno) {
    try DurableFile.replace("\(folder)/\(Self.fileName)", with: encoded())
  }

  /// It is over for good, of a group that is closed. Durable when it returns. Blocks.
  func end(_ reason: String, inGroupOf folder: String) throws(Errno) {
    var ended = self
    ended.ending = reason
    try ended.write(to: Branch.folder(name, ofGroupIn: folder))
  }

  /// Nil, and the reason is logged, when it is damaged. Blocks.
  ///
  /// - Parameter name: of the file, while the branch is made or taken back.
  static func read(
    _ name: String = fileName, from folder: String, log: (String) -> Void
  ) throws(SiteError) -> BranchRecord? {
    let path = "\(folder)/\(name)"
    let bytes: [UInt8]
    do throws(Errno) { bytes = try DurableFile.read(path, limit: 1 << 20) } catch {
      throw SiteError("\(path): \(error.withAdvice)")
    }
    do throws(SealedForm.Unreadable) { return try BranchRecord(decoding: bytes) } catch {
      switch error {
      case .damaged:
        log(
          "\(path) is damaged: what was written to the branch may be whole beside it, and "
            + "`tapline journal export --salvage` gets it out")
        return nil
      case .otherVersion(let found):
        throw SiteError("\(path) \(FormatVersion.advice(found, own: form.version))")
      }
    }
  }
}
