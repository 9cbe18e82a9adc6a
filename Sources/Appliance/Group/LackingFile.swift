import Journal
import SystemIO

/// The file of a group's folder in which `LackingList` lies. Calls block.
enum LackingFile {
  static func path(_ folder: String) -> String { "\(folder)/\(LackingList.fileName)" }

  /// Durable when it returns.
  static func write(_ list: LackingList, in folder: String) throws(Errno) {
    try DurableFile.replace(path(folder), with: list.encoded())
  }

  /// Nil: there is none, or none that can be believed.
  static func read(in folder: String) throws(Errno) -> LackingList? {
    guard Directory.exists(path(folder)) else { return nil }
    return LackingList(
      decoding: try DurableFile.read(path(folder), limit: LackingList.byteLimit))
  }

  /// If it is there.
  static func remove(in folder: String) throws(Errno) {
    do throws(Errno) { try Directory.remove(path(folder)) } catch .notFound {}
  }
}
