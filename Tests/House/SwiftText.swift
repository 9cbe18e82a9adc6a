/// Just enough of Swift to see what a file declares and names.
enum SwiftText {
  /// Without comments and literals, line by line.
  ///
  /// - Parameter keepsInterpolations: what is interpolated in a literal stays.
  static func code(_ text: String, keepsInterpolations: Bool = false) -> String {
    var isLongLiteral = false
    return text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      if line.contains("\"\"\"") {
        isLongLiteral.toggle()
        return ""
      }
      return isLongLiteral ? "" : Self.code(ofLine: line, keepsInterpolations)
    }.joined(separator: "\n")
  }

  private static func code(ofLine line: Substring, _ keepsInterpolations: Bool) -> String {
    var code = ""
    var isLiteral = false
    // Parentheses that are open in an interpolation, of each that is open.
    var depths: [Int] = []
    var before: Character = " "
    for character in line {
      defer { before = before == "\\" && character == "\\" ? " " : character }
      if isLiteral {
        if character == "(", before == "\\" {
          depths.append(0)
          isLiteral = false
          code += " "
        } else if character == "\"", before != "\\" {
          isLiteral = false
        }
        continue
      }
      switch character {
      case "\"":
        isLiteral = true
        continue
      case "(" where !depths.isEmpty: depths[depths.count - 1] += 1
      case ")" where depths.last == 0:
        depths.removeLast()
        isLiteral = true
        code += " "
        continue
      case ")" where !depths.isEmpty: depths[depths.count - 1] -= 1
      case "/" where before == "/":
        code.removeLast()
        return code
      default: break
      }
      if depths.isEmpty || keepsInterpolations { code.append(character) }
    }
    return code
  }

  static func words(_ code: String) -> [Substring] {
    code.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
  }

  private static let kinds: Set<Substring> = [
    "func", "var", "let", "case", "struct", "class", "enum", "protocol", "actor", "typealias",
  ]

  /// Names that others in the file or elsewhere could use. What is overridden is used by who
  /// declares it first.
  static func declared(in code: String) -> [Substring] {
    code.split(separator: "\n").compactMap { line in
      let words = line.split { $0 == " " }
      guard !words.contains("override"), let kind = words.firstIndex(where: kinds.contains),
        kind + 1 < words.count
      else { return nil }
      let name = words[kind + 1].prefix { $0.isLetter || $0.isNumber || $0 == "_" }
      // An event of the YAML library is named in full in a pattern.
      return name.isEmpty || name == "_" || name.hasPrefix("YAML_") ? nil : name
    }
  }

  /// Functions of more than one line, from the first to the last.
  static func functions(in text: String) -> [(name: Substring, lines: Int)] {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    return lines.indices.compactMap { first in
      let line = lines[first]
      let words = line.split { !$0.isLetter }
      let indent = line.prefix { $0 == " " }
      guard !line.hasSuffix("}"), !line.dropFirst(indent.count).hasPrefix("//"),
        words.contains("func") || line.dropFirst(indent.count).hasPrefix("init(")
          || line.contains(" init(") && !line.contains("self.init") && !line.contains(".init"),
        let last = lines[first...].firstIndex(where: { $0 == indent + "}" })
      else { return nil }
      return (line.dropFirst(indent.count), last - first + 1)
    }
  }
}
