/// The names on a machine's disk. A new, removed or renamed name is durable once its folder has
/// been synced; a power cut takes back the last ones of each folder that was not. (Folders
/// themselves are durable at once.)
struct FileTree {
  private struct Change {
    let path: String
    let inode: Inode?
  }

  /// Changes that happen together. A rename from one folder to another is in the lists of both.
  private struct Step {
    let number: UInt64
    let changes: [Change]
    let folders: Set<String>
  }

  private var folders: Set<String> = ["/"]
  private var names: [String: Inode] = [:]
  private var durableNames: [String: Inode] = [:]
  /// By folder, oldest first.
  private var pending: [String: [Step]] = [:]
  private var stepCount: UInt64 = 0

  func inode(_ path: String) -> Inode? { names[path] }
  func isFolder(_ path: String) -> Bool { folders.contains(path) }
  func exists(_ path: String) -> Bool { names[path] != nil || folders.contains(path) }
  var allPaths: [String] { names.keys.sorted() }
  var byteCount: Int { names.values.reduce(0) { $0 + Int($1.byteCount) } }
  var allocatedBytes: Int { names.values.reduce(0) { $0 + $1.allocatedBytes } }

  /// A write-back failed, and no open file has been told.
  var hasUntoldLoss: Bool { names.values.contains(where: \.hasUntoldLoss) }

  static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }

  mutating func makeFolder(_ path: String) { folders.insert(path) }
  mutating func removeFolder(_ path: String) { folders.remove(path) }

  func names(in folder: String) -> [String] {
    let children = names.keys.filter { Self.folder(of: $0) == folder }
    let inner = folders.filter { $0 != folder && $0 != "/" && Self.folder(of: $0) == folder }
    return (children + inner).map { String($0.dropFirst(folder == "/" ? 1 : folder.count + 1)) }
  }

  mutating func create(_ path: String) -> Inode {
    let inode = Inode()
    apply([Change(path: path, inode: inode)])
    return inode
  }

  mutating func remove(_ path: String) {
    apply([Change(path: path, inode: nil)])
  }

  /// Also from one folder to another: a power cut leaves the file in one of the two.
  mutating func rename(_ from: String, _ to: String) {
    apply([Change(path: to, inode: names[from]), Change(path: from, inode: nil)])
  }

  private mutating func apply(_ changes: [Change]) {
    for change in changes { names[change.path] = change.inode }
    stepCount += 1
    let step = Step(
      number: stepCount, changes: changes,
      folders: Set(changes.map { Self.folder(of: $0.path) }))
    for folder in step.folders { pending[folder, default: []].append(step) }
  }

  mutating func sync(_ folder: String) {
    if let last = pending[folder]?.last { makeDurable(folder, through: last.number) }
  }

  /// What came before a step in either of its folders is durable with it.
  private mutating func makeDurable(_ folder: String, through number: UInt64) {
    while let step = pending[folder]?.first, step.number <= number {
      pending[folder]?.removeFirst()
      for other in step.folders where other != folder { makeDurable(other, through: step.number) }
      for change in step.changes { durableNames[change.path] = change.inode }
    }
    if pending[folder]?.isEmpty ?? false { pending[folder] = nil }
  }

  /// With files of their own, all of which are durable.
  func copied() -> FileTree {
    var copy = FileTree()
    copy.folders = folders
    copy.names = names.mapValues { $0.copied() }
    copy.durableNames = copy.names
    return copy
  }

  mutating func losePower(keepsSome: Bool, _ random: inout SimulationRandom) {
    for folder in pending.keys.sorted() {
      let steps = pending[folder] ?? []
      let count = random.below(steps.count + 1)
      if count > 0 { makeDurable(folder, through: steps[count - 1].number) }
    }
    pending = [:]
    names = durableNames
    for path in names.keys.sorted() { names[path]?.losePower(keepsSome: keepsSome, &random) }
  }
}

/// An open file or folder.
final class OpenFile: OpenObject {
  let path: String
  /// Nil for a folder.
  let inode: Inode?
  let isReadOnly: Bool
  private var lossMark: UInt64

  init(_ path: String, _ inode: Inode?, isReadOnly: Bool) {
    lossMark = inode?.lossMark ?? 0
    self.path = path
    self.inode = inode
    self.isReadOnly = isReadOnly
  }

  /// Something that was written was lost, and nobody who has this open file was told.
  func hearsOfLoss() -> Bool { inode?.tellsLoss(since: &lossMark) ?? false }

  override var isReadable: Bool { true }
  override var isWritable: Bool { true }

  override func lastClose() { if inode?.lock === self { inode?.lock = nil } }
}
