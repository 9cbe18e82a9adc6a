import Foundation
import Testing

/// Proves that what is declared in `Sources` is used by the program or its tools, and that no
/// function is longer than what one can look over. What only tests call is theirs, and lies there.
struct DeadCodeTests {
  private static let allowed: [String: String] = [
    "leadingPadding": "keeps what lies before it off a cache line",
    "setBufferBytes": "tests make a link slow with it, and nothing else can",
    "threadCount": "tests see by it that threads end",
    "waitingCount": "tests see by it that jobs do not pile up",
    "ConfigurationPaths": "a test compares it with the page on configuration",
  ]
  private static let functionLimit = 70

  @Test func `everything that is declared is used`() throws {
    var uses: [Substring: Int] = [:]
    var declarations: [(name: Substring, file: String)] = []
    for file in try Tree.swiftFiles(below: "Sources") + Tree.swiftFiles(below: "Tools") {
      let code = SwiftText.code(try Tree.text(file), keepsInterpolations: true)
      for word in SwiftText.words(code) { uses[word, default: 0] += 1 }
      guard file.hasPrefix("Sources/") else { continue }
      declarations += SwiftText.declared(in: code).map { ($0, file) }
    }
    #expect(declarations.count > 1000)
    for (name, file) in declarations where uses[name] == 1 && Self.allowed["\(name)"] == nil {
      Issue.record("\(file): nothing uses \(name)")
    }
  }

  @Test func `no function is longer than 70 lines`() throws {
    for file in try Tree.swiftFiles(below: "Sources") {
      for (name, lines) in SwiftText.functions(in: try Tree.text(file))
      where lines > Self.functionLimit {
        Issue.record("\(file): \(name) has \(lines) lines")
      }
    }
  }

  @Test func `a function's lines are counted`() {
    let text = """
      struct A {
        func one() { print(1) }
        init(
          a: Int
        ) {
          print(a)
        }
      }
      """
    let found = SwiftText.functions(in: text)
    #expect(found.map(\.lines) == [5])
  }

  @Test func `a name in a string is a use only where it is interpolated`() {
    let code = SwiftText.code(#"let a = "b \(c) // d" // e"#, keepsInterpolations: true)
    #expect(SwiftText.words(code) == ["let", "a", "c"])
    #expect(SwiftText.declared(in: code) == ["a"])
  }
}
