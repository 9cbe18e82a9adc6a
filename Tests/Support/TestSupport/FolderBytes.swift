import Foundation

/// What is in a folder, byte for byte: to show that nothing in it was changed.
public struct FolderBytes: Equatable {
  /// By name; nil for what is not a file.
  public let files: [String: Data?]

  public init(_ path: String) throws {
    files = try FileManager.default.contentsOfDirectory(atPath: path).reduce(into: [:]) {
      $0[$1] = .some(try? Data(contentsOf: URL(fileURLWithPath: "\(path)/\($1)")))
    }
  }

  /// Makes the folder be as it was.
  public func restore(to path: String) throws {
    let manager = FileManager.default
    for name in try manager.contentsOfDirectory(atPath: path) {
      try manager.removeItem(atPath: "\(path)/\(name)")
    }
    for case (let name, let bytes?) in files {
      try bytes.write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }
  }
}
