/// Small files that are replaced as a whole: after a crash there is the old content or the new one.
public enum DurableFile {
  /// Durable when it returns. Blocks; one caller at a time for each path.
  public static func replace(_ path: String, with bytes: [UInt8]) throws(Errno) {
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
  public static func read(_ path: String, limit: Int) throws(Errno) -> [UInt8] {
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
