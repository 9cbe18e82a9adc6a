import BlockModel
import Journal
import SystemIO

/// The file that an export writes: under a temporary name beside its own until it is whole.
final class ExportTarget {
  private let path: String
  private let unfinished: String
  private let sizeBytes: UInt64
  private let file: File
  private let zeros = PageBuffer(byteCount: ExportTarget.chunkByteCount)

  static let chunkByteCount = 1 << 20
  /// Zeros of a base in blocks of this size stay holes.
  private static let holeByteCount = 64 << 10

  /// Refuses a target that exists, unless the request replaces it; then it must be a regular file.
  init(_ request: ExportRequest, sizeBytes: UInt64) throws(JournalToolsError) {
    path = request.target
    unfinished = request.target + ".unfinished"
    self.sizeBytes = sizeBytes
    if Directory.exists(path) {
      guard request.replacesTarget else {
        throw .refused("\(path) exists; --force replaces it")
      }
      let isDevice: Bool
      do throws(Errno) { isDevice = try File(opening: path, .readOnly).isBlockDevice() } catch {
        throw .file(path, error, doing: "opening")
      }
      guard !isDevice else { throw .refused("\(path) is a block device; export to a file") }
    }
    do throws(Errno) {
      if Directory.exists(unfinished) { try Directory.remove(unfinished) }
      file = try File(creating: unfinished)
      try file.truncate(to: sizeBytes)
    } catch { throw .file(unfinished, error, doing: "creating") }
  }

  /// In bytes, also of a block device.
  static func size(of base: String) throws(JournalToolsError) -> UInt64 {
    do throws(Errno) { return try File(opening: base, .readOnly).size() } catch {
      throw .file(base, error, doing: "opening")
    }
  }

  /// Copies a base of the disk's size; its zeros become holes.
  func copy(_ base: String) throws(JournalToolsError) {
    let source: File
    let size: UInt64
    do throws(Errno) {
      source = try File(opening: base, .readOnly)
      size = try source.size()
    } catch { throw .file(base, error, doing: "opening") }
    guard size == sizeBytes else {
      throw .refused("\(base) has \(size) bytes and the disk \(sizeBytes)")
    }
    do throws(Errno) {
      let buffer = PageBuffer(byteCount: Self.chunkByteCount)
      var offset: UInt64 = 0
      while offset < size {
        guard let data = try Self.nextData(of: source, from: offset) else { break }
        offset = data
        let count = Int(min(UInt64(Self.chunkByteCount), size - offset))
        let chunk = unsafe UnsafeMutableRawBufferPointer(start: buffer.base, count: count)
        let got = try unsafe source.read(into: chunk, at: offset)
        guard got == count else { throw Errno.io }
        try unsafe writeData(UnsafeRawBufferPointer(chunk), at: offset)
        offset += UInt64(count)
      }
    } catch { throw .file(base, error, doing: "copying") }
  }

  /// Block devices and some file systems know no holes: everything is data there.
  private static func nextData(of file: File, from offset: UInt64) throws(Errno) -> UInt64? {
    do throws(Errno) { return try file.nextData(from: offset) } catch {
      if error == .invalid || error == .notSupported { return offset }
      throw error
    }
  }

  private func writeData(_ chunk: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
    var start = 0
    while start < chunk.count {
      let end = min(start + Self.holeByteCount, chunk.count)
      let block = unsafe UnsafeRawBufferPointer(rebasing: chunk[start..<end])
      if unsafe block.contains(where: { $0 != 0 }) {
        try unsafe file.write(block, at: offset + UInt64(start))
      }
      start = end
    }
  }

  /// Does to the file what the record did to the disk.
  func apply(
    _ header: RecordHeader, payload: UnsafeRawBufferPointer
  ) throws(JournalToolsError) {
    guard header.range.end <= sizeBytes else {
      throw .refused("a record ends at byte \(header.range.end) of a disk of \(sizeBytes)")
    }
    do throws(Errno) {
      switch header.kind {
      case .write: try unsafe file.write(payload, at: header.offset)
      case .zero, .trim: try zero(header.range)
      case .checkpoint, .disk: break
      }
    } catch { throw .file(unfinished, error, doing: "writing") }
  }

  private func zero(_ range: ByteRange) throws(Errno) {
    guard !range.isEmpty else { return }
    do throws(Errno) {
      try file.punchHole(at: range.start, count: range.length)
    } catch {
      guard error == .notSupported else { throw error }
      var offset = range.start
      while offset < range.end {
        let count = Int(min(UInt64(zeros.count), range.end - offset))
        try unsafe file.write(
          UnsafeRawBufferPointer(start: zeros.base, count: count), at: offset)
        offset += UInt64(count)
      }
    }
  }

  /// Durable under its own name when it returns.
  func finish() throws(JournalToolsError) {
    do throws(Errno) {
      try file.syncAll()
      try Directory.rename(unfinished, to: path)
      try Directory.sync(Self.folder(of: path))
    } catch { throw .file(path, error, doing: "finishing") }
  }

  func discard() { try? Directory.remove(unfinished) }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}
