import Journal
import SystemIO

/// Follows the state file of one group at one site through the journal's own reader.
final class StateWatcher {
  private let file = MemoryFile()
  private let reader: JournalStateFile<MemoryFile>
  private(set) var state: JournalState?
  private var generation: UInt64 = 0

  init() { reader = JournalStateFile(file) }

  /// Returns the state that the write has completed, if it has.
  func wrote(_ offset: Int, _ bytes: [UInt8]) -> JournalState? {
    file.put(bytes, at: offset)
    guard case .state(let new, let number)? = try? reader.read(),
      number != generation || new != state
    else { return nil }
    generation = number
    state = new
    return new
  }

  /// After a power cut: what the disk has.
  func replace(with bytes: [UInt8]?) {
    file.bytes = bytes ?? []
    state = nil
    if case .state(let new, _)? = try? reader.read() { state = new }
  }
}

/// The bytes of a small file. Confined to the simulation's thread.
private final class MemoryFile: JournalFile, @unchecked Sendable {
  var bytes: [UInt8] = []

  func put(_ new: [UInt8], at offset: Int) {
    if bytes.count < offset + new.count {
      bytes += [UInt8](repeating: 0, count: offset + new.count - bytes.count)
    }
    bytes.replaceSubrange(offset..<offset + new.count, with: new)
  }

  func write(_ pieces: inout GatherList, at offset: UInt64) throws(Errno) {
    throw .notSupported
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
    throw .notSupported
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    guard Int(offset) < bytes.count else { return 0 }
    let part = bytes[Int(offset)..<min(Int(offset) + buffer.count, bytes.count)]
    unsafe buffer.copyBytes(from: part)
    return part.count
  }

  func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Bool {
    try unsafe read(into: buffer, at: offset) == buffer.count
  }

  func syncData() throws(Errno) {}
}
