import Foundation

/// The files of the project that these tests belong to.
enum Tree {
  private static let root = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static func path(_ relative: String) -> String { root.appending(path: relative).path }

  static func text(_ relative: String) throws -> String {
    try String(contentsOfFile: path(relative), encoding: .utf8)
  }

  /// Names of the folders right below `relative`, sorted.
  static func folders(in relative: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path(relative)).filter { name in
      let url = URL(filePath: path("\(relative)/\(name)"))
      return try url.resourceValues(forKeys: [.isDirectoryKey]).isDirectory == true
    }.sorted()
  }

  /// Every Swift file below `relative`, named from the root.
  static func swiftFiles(below relative: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: path(relative))
      .filter { $0.hasSuffix(".swift") }.sorted().map { "\(relative)/\($0)" }
  }

  static func sources() throws -> [String] {
    try ["Sources", "Tests", "Tools"].flatMap(swiftFiles)
  }

  /// The modules that a file imports.
  static func imports(of file: String) throws -> [String] { imports(in: try text(file)) }

  /// In whatever form: with attributes, an access level, or of one declaration alone.
  static func imports(in text: String) -> [String] {
    let kinds = "typealias|struct|class|enum|protocol|let|var|func|actor"
    let form = try? Regex(
      #"^\s*(?:@\w+(?:\([^)]*\))?\s+|(?:public|package|internal|fileprivate|private)\s+)*"#
        + #"import\s+(?:(?:\#(kinds))\s+)?(\w+)"#)
    guard let form else { return [] }
    return text.split(separator: "\n").flatMap { $0.split(separator: ";") }.compactMap { line in
      (try? form.firstMatch(in: line))?.output[1].substring.map(String.init)
    }
  }
}
