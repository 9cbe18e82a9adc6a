import Journal
import Synchronization
import SystemIO

/// A journal folder in memory that never fails.
final class MemoryFolder: JournalStorage {
  private let files = Mutex<[String: MemoryFile]>([:])

  func names() -> [String] { files.withLock { $0.keys.sorted() } }

  func open(_ name: String) throws(Errno) -> MemoryFile {
    guard let file = files.withLock({ $0[name] }) else { throw .notFound }
    return file
  }

  func create(_ name: String, byteCount: Int) -> MemoryFile {
    let file = MemoryFile([UInt8](repeating: 0, count: byteCount))
    files.withLock { $0[name] = file }
    return file
  }

  func replace(_ name: String, with bytes: [UInt8]) {
    files.withLock { $0[name] = MemoryFile(bytes) }
  }

  func rewrite(_ name: String) -> MemoryFile {
    let file = MemoryFile([])
    files.withLock { $0[name] = file }
    return file
  }

  func scratch() -> MemoryFile { MemoryFile([]) }

  func remove(_ name: String) { files.withLock { $0[name] = nil } }
}

final class MemoryFile: JournalFile {
  private let content: Mutex<[UInt8]>

  init(_ bytes: [UInt8]) { content = Mutex(bytes) }

  var bytes: [UInt8] { content.withLock { $0 } }

  func change(_ body: (inout sending [UInt8]) -> Void) { content.withLock { body(&$0) } }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    content.withLock { content in
      let end = Int(offset) + bytes.count
      if end > content.count { content += repeatElement(0, count: end - content.count) }
      unsafe content.replaceSubrange(Int(offset)..<end, with: bytes)
    }
  }

  func write(_ pieces: inout GatherList, at offset: UInt64) {
    var position = offset
    unsafe pieces.forEachPiece { piece in
      unsafe write(piece, at: position)
      position += UInt64(piece.count)
    }
    pieces.clear()
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int {
    content.withLock { content in
      guard offset < UInt64(content.count) else { return 0 }
      let rest = content[Int(offset)...].prefix(buffer.count)
      unsafe buffer.copyBytes(from: rest)
      return rest.count
    }
  }

  func readIfCached(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Bool {
    unsafe read(into: buffer, at: offset) == buffer.count
  }

  func syncData() {}
}
