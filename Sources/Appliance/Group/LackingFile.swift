import Journal
import SystemIO

/// The file of a group's folder in which `LackingList` lies. Calls block.
enum LackingFile {
  static func path(_ folder: String, next isNext: Bool = false) -> String {
    "\(folder)/\(isNext ? LackingList.nextFileName : LackingList.fileName)"
  }

  /// Durable when it returns.
  static func write(
    _ list: LackingList, in folder: String, next isNext: Bool = false
  ) throws(Errno) {
    try DurableFile.replace(path(folder, next: isNext), with: list.encoded())
  }

  /// The next list takes the place of the one that was, if it has not yet. Durable when it returns.
  static func adoptNext(in folder: String) throws(Errno) {
    guard Directory.exists(path(folder, next: true)) else { return }
    try Directory.rename(path(folder, next: true), to: path(folder))
    try Directory.sync(folder)
  }

  /// Nil: there is none, or none that can be believed.
  static func read(
    in folder: String, next isNext: Bool = false
  ) throws(Errno) -> LackingList? {
    let path = path(folder, next: isNext)
    guard Directory.exists(path) else { return nil }
    return LackingList(
      decoding: try DurableFile.read(path, limit: LackingList.byteLimit))
  }

  /// If it is there.
  static func remove(in folder: String) throws(Errno) {
    do throws(Errno) { try Directory.remove(path(folder)) } catch .notFound {}
  }
}
