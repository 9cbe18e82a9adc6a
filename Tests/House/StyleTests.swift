import Foundation
import TestSupport
import Testing

/// Proves that the sources keep the rules that a reader relies on: formatting, the length of files,
/// nothing stray at the top of the tree.
struct StyleTests {
  private static let lineLimit = 800
  private static let columnLimit = 100

  @Test func `no file is longer than 800 lines`() throws {
    for file in try Tree.sources() {
      let count = try Tree.text(file).split(separator: "\n", omittingEmptySubsequences: false).count
      #expect(count <= Self.lineLimit, "\(file) has \(count) lines")
    }
  }

  @Test func `no line is wider than 100 columns`() throws {
    for file in try Tree.sources() {
      for (number, line) in try Tree.text(file).split(
        separator: "\n", omittingEmptySubsequences: false
      ).enumerated() where line.count > Self.columnLimit {
        Issue.record("\(file):\(number + 1) has \(line.count) columns")
      }
    }
  }

  @Test func `swift format finds nothing to say`() throws {
    let swift = ProcessInfo.processInfo.environment["SWIFT"] ?? "swift"
    let finished = try run(
      swift,
      [
        "format", "lint", "--strict", "--configuration", Tree.path(".swift-format"), "-r",
        Tree.path("Sources"), Tree.path("Tests"), Tree.path("Tools"), Tree.path("Package.swift"),
      ], within: .seconds(120))
    #expect(finished.status == 0, "\(finished)")
  }

  @Test func `the top of the tree holds what it should`() throws {
    let known: Set = [
      ".build", ".ci", ".editorconfig", ".git", ".gitignore", ".swift-format", ".swiftpm",
      "Benchmarks", "CHANGELOG.md", "LICENSE", "Package.swift", "README.md", "Sources", "Tests",
      "Tools", "docs",
    ]
    let names = try FileManager.default.contentsOfDirectory(atPath: Tree.path(""))
    for name in names { #expect(known.contains(name), "\(name) does not belong there") }
  }
}
