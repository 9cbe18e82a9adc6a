/// The names on a machine's disk. A new, removed or renamed name is durable once its folder has
/// been synced; a power cut takes back the last ones of each folder that was not. (Folders
/// themselves are durable at once.)
struct FileTree {
  private struct Change {
    let path: String
    let inode: Inode?
  }

  private var folders: Set<String> = ["/"]
  private var names: [String: Inode] = [:]
  private var durableNames: [String: Inode] = [:]
  /// By folder, oldest first; those of one entry happen together.
  private var pending: [String: [[Change]]] = [:]

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
    apply([Change(path: path, inode: inode)], in: Self.folder(of: path))
    return inode
  }

  mutating func remove(_ path: String) {
    apply([Change(path: path, inode: nil)], in: Self.folder(of: path))
  }

  /// Within one folder.
  mutating func rename(_ from: String, _ to: String) {
    precondition(Self.folder(of: from) == Self.folder(of: to), "rename across folders")
    apply(
      [Change(path: to, inode: names[from]), Change(path: from, inode: nil)],
      in: Self.folder(of: from))
  }

  private mutating func apply(_ changes: [Change], in folder: String) {
    for change in changes { names[change.path] = change.inode }
    pending[folder, default: []].append(changes)
  }

  mutating func sync(_ folder: String) {
    for changes in pending.removeValue(forKey: folder) ?? [] { makeDurable(changes) }
  }

  private mutating func makeDurable(_ changes: [Change]) {
    for change in changes { durableNames[change.path] = change.inode }
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
      let changes = pending[folder] ?? []
      for change in changes.prefix(random.below(changes.count + 1)) { makeDurable(change) }
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
