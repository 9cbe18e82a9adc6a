import CLinux
import Glibc

/// How some files of a machine fail, for example those that can be made again. Probabilities are
/// those of one call.
public struct FileFaults {
  /// EIO.
  public var readError = 0.0
  /// ENOSPC.
  public var writeError = 0.0
  /// EMFILE, ENFILE or EACCES; ENOSPC for a new file.
  public var openError = 0.0
  public var applies: (String) -> Bool = { _ in false }

  public init() {}

  private func happens(_ probability: Double, _ path: String, _ machine: Machine) -> Bool {
    probability > 0 && applies(path) && machine.simulation.random.chance(probability)
  }

  private func noted(_ code: Int32, _ what: String, _ path: String, _ machine: Machine) -> Int32 {
    machine.simulation.trace("\(machine.name): \(what) \(path) fails with error \(code)")
    return code
  }

  func refusal(_ path: String, isNew: Bool, _ machine: Machine) -> Int32? {
    guard happens(openError, path, machine) else { return nil }
    let codes = [EMFILE, ENFILE, isNew ? ENOSPC : EACCES]
    return noted(
      codes[machine.simulation.random.below(codes.count)], "opening", path, machine)
  }

  func readFailure(_ path: String, _ machine: Machine) -> Int32? {
    happens(readError, path, machine) ? noted(EIO, "reading", path, machine) : nil
  }

  func writeFailure(_ path: String, _ machine: Machine) -> Int32? {
    happens(writeError, path, machine) ? noted(ENOSPC, "writing", path, machine) : nil
  }
}

/// A file, past the system calls and past those that watch them: for faults that leave it as
/// nobody has written it.
public struct SpareFile {
  public let path: String
  fileprivate let inode: Inode

  public var byteCount: Int { Int(inode.byteCount) }
  public var bytes: [UInt8] { inode.allBytes }

  public func overwrite(_ bytes: [UInt8], at offset: Int) {
    unsafe bytes.withUnsafeBytes { unsafe inode.write($0, at: UInt64(offset)) }
  }

  public func truncate(to byteCount: Int) { inode.truncate(UInt64(byteCount)) }
}

extension Machine {
  /// Files with a name, and files that a process has open and that have none any more.
  public func spareFiles(_ isWanted: (String) -> Bool) -> [SpareFile] {
    let named = files.allPaths.filter(isWanted).compactMap { path in
      files.inode(path).map { SpareFile(path: path, inode: $0) }
    }
    let open = processes.flatMap(\.descriptors).compactMap { $0 as? OpenFile }.compactMap { file in
      file.inode.map { SpareFile(path: file.path, inode: $0) }
    }
    return named
      + open.filter { file in isWanted(file.path) && files.inode(file.path) !== file.inode }
  }

  public func remove(_ file: SpareFile) { files.remove(file.path) }

  /// Both have names, in one folder.
  public func exchange(_ one: SpareFile, _ other: SpareFile) {
    files.rename(one.path, one.path + ".moved")
    files.rename(other.path, one.path)
    files.rename(one.path + ".moved", other.path)
  }
}
