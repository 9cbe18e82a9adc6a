import Foundation
import Testing

/// Proves that the parts of `Appliance` lie above each other: no part names a type that one above
/// it declares. Within a module nothing else keeps that so.
struct PartsTests {
  /// Lowest first. `Link` knows nothing of exports and of those who serve them.
  private static let parts = ["Loop", "Group", "Trust", "Exports", "Serving", "Link", "Site"]

  @Test func `a part names only types of parts below it`() throws {
    let folder = "Sources/Appliance"
    let folders = try Tree.folders(in: folder)
    #expect(Set(folders) == Set(Self.parts))
    var places: [Substring: Int] = [:]
    var texts: [(name: String, part: Int, text: String)] = []
    for (number, part) in Self.parts.enumerated() {
      for file in try Tree.swiftFiles(below: "\(folder)/\(part)") {
        let text = SwiftText.code(try Tree.text(file))
        texts.append((String(file.dropFirst(folder.count + 1)), number, text))
        for type in Self.declared(in: text) { places[type] = number }
      }
    }
    var found: Set<String> = []
    for (name, part, text) in texts {
      for word in Set(SwiftText.words(text)) {
        guard let place = places[word], Self.isAbove(place, part) else { continue }
        found.insert("\(name) names \(word)")
      }
    }
    #expect(found.isEmpty, "\(found.sorted())")
  }

  private static func isAbove(_ place: Int, _ part: Int) -> Bool {
    place > part || parts[part] == "Link" && ["Exports", "Serving"].contains(parts[place])
  }

  /// Names of the types at the top of a file that others can see.
  private static func declared(in text: String) -> [Substring] {
    text.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard line.first?.isWhitespace == false, !words.contains("private"),
        let kind = words.firstIndex(where: {
          ["class", "struct", "enum", "protocol", "actor", "typealias"].contains($0)
        }), kind + 1 < words.count
      else { return nil }
      return words[kind + 1].prefix { $0.isLetter || $0.isNumber || $0 == "_" }
    }
  }
}
