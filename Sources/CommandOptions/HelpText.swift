extension Command {
  /// The text for `--help`, ending in a newline, in lines of at most `helpColumns` columns as far
  /// as words allow. `program` is the program with its subcommands, `tapline journal ls`.
  public func help(program: String, exitCodes: [ExitCodeHelp]) -> String {
    var sections = [usage(program)]
    sections.append(wrapped(summary))
    sections += paragraphs(discussion).map { wrapped($0) }
    let tables: [(title: String, rows: [HelpRow])] = [
      ("Commands", subcommands.map { HelpRow(label: $0.name, help: $0.summary) }),
      ("Arguments", arguments.map { HelpRow(label: $0.name, help: $0.help) }),
      ("Options", allOptions.map { HelpRow(label: label($0), help: optionHelp($0)) }),
      ("Exit codes", exitCodes.map { HelpRow(label: String($0.code), help: $0.help) }),
    ]
    for table in tables where !table.rows.isEmpty {
      sections.append(table.title + ":\n" + lines(of: table.rows))
    }
    return sections.joined(separator: "\n\n") + "\n"
  }

  private func usage(_ program: String) -> String {
    var parts: [String] = []
    for option in options where option.isRequired {
      parts.append("--\(option.name) \(option.placeholder ?? "")")
    }
    parts.append("[OPTIONS]")
    if !subcommands.isEmpty { parts.append("COMMAND") }
    for argument in arguments {
      switch argument.arity {
      case .one: parts.append(argument.name)
      case .optional: parts.append("[\(argument.name)]")
      case .zeroOrMore: parts.append("[\(argument.name)...]")
      case .oneOrMore: parts.append("\(argument.name)...")
      }
    }
    return wrapped("Usage: \(program) " + parts.joined(separator: " "), indent: 4)
  }

  private func label(_ option: CommandOption) -> String {
    let short = option.short.map { "-\($0), " } ?? "    "
    return short + "--\(option.name)" + (option.placeholder.map { " \($0)" } ?? "")
  }

  private func optionHelp(_ option: CommandOption) -> String {
    var notes: [String] = []
    if option.isRequired { notes.append("required") }
    if option.isRepeatable, option.placeholder != nil { notes.append("may be repeated") }
    return option.help + (notes.isEmpty ? "" : " (\(notes.joined(separator: ", ")))")
  }

  private func paragraphs(_ text: String) -> [String] {
    text.split(separator: "\n", omittingEmptySubsequences: false)
      .split(whereSeparator: \.isEmpty)
      .map { $0.joined(separator: " ") }
  }
}

/// A line of a table: what it is about, and the text beside it.
private struct HelpRow {
  var label: String
  var help: String
}

/// The width of help text.
let helpColumns = 80

/// Labels wider than this have their text on the next line.
private let widestLabel = 28

private func lines(of rows: [HelpRow]) -> String {
  let labels = rows.map { $0.label.count }.filter { $0 <= widestLabel }
  let column = 2 + (labels.max() ?? 0) + 2
  return rows.map { row in
    let start = "  " + row.label
    let gap = column - start.count
    let text = wrapped(String(repeating: " ", count: column) + row.help, indent: column)
    return gap >= 2 ? start + text.dropFirst(start.count) : start + "\n" + text
  }.joined(separator: "\n")
}

/// `text` in lines of at most `helpColumns` columns, all but the first after `indent` spaces.
/// Spaces at the start of `text` are kept.
private func wrapped(_ text: String, indent: Int = 0) -> String {
  let margin = String(repeating: " ", count: indent)
  var lines: [String] = []
  var line = String(text.prefix { $0 == " " })
  var isLineEmpty = true
  for word in text.split(separator: " ") {
    if !isLineEmpty, line.count + 1 + word.count > helpColumns {
      lines.append(line)
      line = margin
      isLineEmpty = true
    }
    line += (isLineEmpty ? "" : " ") + word
    isLineEmpty = false
  }
  return (lines + [line]).joined(separator: "\n")
}
