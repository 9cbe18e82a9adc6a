import Foundation
import Storage
import SystemIO

/// A folder for one test, removed with this object.
final class ScratchFolder: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/storage-test-XXXXXX".utf8CString)
    path = unsafe String(cString: mkdtemp(&template)!)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  subscript(name: String) -> String { path + "/" + name }

  func makeFile(_ name: String, byteCount: UInt64) throws -> String {
    let file = try File(creating: self[name])
    try file.truncate(to: byteCount)
    return self[name]
  }
}

enum Tools {
  static func path(_ name: String) -> String? {
    ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"].map { $0 + name }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  static func have(_ names: String...) -> Bool { names.allSatisfy { path($0) != nil } }

  static var isRoot: Bool { geteuid() == 0 }

  /// Runs a tool to its end; its output, or nil when it failed.
  @discardableResult
  static func run(_ name: String, _ arguments: String...) -> String? {
    guard let path = path(name) else { return nil }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return process.terminationStatus == 0 ? text : nil
  }
}

struct TestFailure: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// Polls until the condition holds; throws after `seconds`.
func waitUntil(_ what: String, seconds: Double = 10, _ condition: () -> Bool) throws {
  let end = Date() + seconds
  while !condition() {
    if Date() > end { throw TestFailure("waited in vain for: \(what)") }
    usleep(5000)
  }
}

/// `count` bytes that differ with their position and `seed`.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
  return (0..<count).map { _ in
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return UInt8(truncatingIfNeeded: state >> 24)
  }
}

func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

func contents(_ path: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
}

extension BackingStore {
  func read(_ count: Int, at offset: UInt64) throws(StorageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: count)
    var failure: StorageError?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(StorageError) { try unsafe read(into: buffer, at: offset) } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  func write(_ bytes: [UInt8], at offset: UInt64) throws(StorageError) {
    var failure: StorageError?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(StorageError) { try unsafe write(buffer, at: offset) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Writes `bytes` as pieces of the given lengths, which lie apart in memory.
  func writeGathered(
    _ bytes: [UInt8], pieces: [Int], at offset: UInt64
  ) throws(StorageError) {
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: bytes.count + pieces.count, alignment: 16)
    defer { unsafe memory.deallocate() }
    var list = GatherList(capacity: pieces.count)
    var (from, to) = (0, 0)
    for count in pieces {
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[to..<to + count])
      unsafe piece.copyBytes(from: bytes[from..<from + count])
      unsafe list.append(piece.baseAddress!, count: count)
      from += count
      to += count + 1
    }
    try write(gathering: &list, at: offset)
  }
}

/// What the file system has allocated for the file.
func allocatedBytes(_ path: String) -> Int {
  var status = stat()
  return unsafe stat(path, &status) == 0 ? Int(status.st_blocks) * 512 : -1
}
