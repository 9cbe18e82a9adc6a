import BlockModel

/// A mapping whose keys are all known and unique.
struct ConfigurationMapping {
  let place: TextPlace
  let file: String
  /// What the mapping describes, in the words of a message: `a group`.
  let subject: String
  private let entries: [YAMLEntry]

  init(
    _ field: ConfigurationField, subject: String, keys: [String]
  ) throws(ConfigurationError) {
    guard case .mapping(let entries) = field.node.content else {
      throw field.failure("\(subject) needs a mapping of keys to values, not \(field.node.kind)")
    }
    place = field.node.place
    file = field.file
    self.subject = subject
    self.entries = entries
    var lines: [String: Int] = [:]
    for entry in entries {
      guard keys.contains(entry.key) else {
        let known = suggestion(
          for: entry.key, in: keys, otherwise: "known keys are \(keys.joined(separator: ", "))")
        throw failure(
          "unknown key \(entry.key.quotedForMessage) in \(subject)\(known)", at: entry.keyPlace)
      }
      if let line = lines.updateValue(entry.keyPlace.line, forKey: entry.key) {
        throw failure("duplicate key '\(entry.key)', first on line \(line)", at: entry.keyPlace)
      }
    }
  }

  subscript(key: String) -> ConfigurationField? {
    entries.first { $0.key == key }.map {
      ConfigurationField(key: key, node: $0.value, file: file)
    }
  }

  /// The error for a missing key names the line on which the mapping starts.
  func required(_ key: String) throws(ConfigurationError) -> ConfigurationField {
    guard let field = self[key] else {
      throw failure("the key '\(key)' of \(subject) is missing", at: place)
    }
    return field
  }

  func failure(_ reason: String, at place: TextPlace) -> ConfigurationError {
    ConfigurationError(file: file, line: place.line, column: place.column, reason: reason)
  }
}
