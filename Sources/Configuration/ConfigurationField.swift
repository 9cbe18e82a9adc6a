import BlockModel
import SystemIO

/// A value of the configuration together with the key that it stands under. Converts the value to
/// what the key asks for, or says why that is impossible and where.
struct ConfigurationField {
  let key: String
  let node: YAMLNode
  let file: String

  func failure(_ reason: String) -> ConfigurationError {
    ConfigurationError(
      file: file, line: node.place.line, column: node.place.column, reason: reason)
  }

  /// A single value that is not null. Numbers are texts too.
  func text() throws(ConfigurationError) -> String {
    guard case .scalar(let text, let isPlain) = node.content, !(isPlain && YAMLNode.isNull(text))
    else { throw failure("'\(key)' needs a single value, not \(node.kind)") }
    return text
  }

  func list() throws(ConfigurationError) -> [ConfigurationField] {
    guard case .sequence(let items) = node.content else {
      throw failure("'\(key)' needs a list, not \(node.kind)")
    }
    return items.map { ConfigurationField(key: key, node: $0, file: file) }
  }

  func list(atMost limit: Int) throws(ConfigurationError) -> [ConfigurationField] {
    let items = try list()
    guard items.count <= limit else { throw failure("'\(key)' has more than \(limit) items") }
    return items
  }

  /// The name of a site, a group or a disk.
  func name() throws(ConfigurationError) -> String {
    let name = try text()
    guard EntityName.isValid(name) else {
      throw failure("'\(key)': \(name.quotedForMessage) is not a name: \(EntityName.rule)")
    }
    return name
  }

  func path() throws(ConfigurationError) -> String {
    let path = try text()
    guard (1...ConfigurationLimits.pathBytes).contains(path.utf8.count), !path.utf8.contains(0)
    else {
      throw failure("'\(key)' needs a path of 1 to \(ConfigurationLimits.pathBytes) bytes")
    }
    return path
  }

  func bytes(in range: ClosedRange<UInt64>) throws(ConfigurationError) -> UInt64 {
    let text = try text()
    let bytes: UInt64
    do {
      bytes = try ByteCount.parse(text)
    } catch {
      throw failure("'\(key)' needs a size such as 20G: \(error)")
    }
    guard range.contains(bytes) else {
      throw failure(
        "'\(key)' must be between \(ByteCount.format(range.lowerBound))"
          + " and \(ByteCount.format(range.upperBound)), not \(text)")
    }
    return bytes
  }

  /// At most `ConfigurationLimits.durationNanoseconds`.
  func nanoseconds() throws(ConfigurationError) -> UInt64 {
    let text = try text()
    let nanoseconds: UInt64
    do {
      nanoseconds = try TimeSpan.parse(text)
    } catch {
      throw failure("'\(key)' needs a duration such as 90s: \(error)")
    }
    guard nanoseconds <= ConfigurationLimits.durationNanoseconds else {
      let longest = TimeSpan.format(ConfigurationLimits.durationNanoseconds)
      throw failure("'\(key)' is at most \(longest), not \(text)")
    }
    return nanoseconds
  }

  func socketAddress() throws(ConfigurationError) -> SocketAddress {
    let text = try text()
    do {
      return try SocketAddress(parsing: text)
    } catch {
      throw failure("'\(key)': \(error)")
    }
  }

  func backingAddress() throws(ConfigurationError) -> BackingAddress {
    let text = try text()
    do {
      return try BackingAddress(parsing: text)
    } catch {
      throw failure("'\(key)': \(error)")
    }
  }

  /// One of the raw values of `Choice`.
  func choice<Choice: CaseIterable & RawRepresentable<String>>(
    _ type: Choice.Type = Choice.self
  ) throws(ConfigurationError) -> Choice {
    let text = try text()
    guard let choice = Choice(rawValue: text) else {
      let known = Choice.allCases.map { $0.rawValue }
      throw failure(
        "unknown \(key) \(text.quotedForMessage)"
          + suggestion(for: text, in: known, otherwise: "one of \(known.joined(separator: ", "))"))
    }
    return choice
  }
}

/// `; did you mean 'NAME'?` when a name is near, else `; ` and `otherwise`.
func suggestion(for text: String, in known: [String], otherwise: String) -> String {
  nearestName(to: text, in: known).map { "; did you mean '\($0)'?" } ?? "; \(otherwise)"
}
