/// A part of a YAML document, with the place at which it starts.
struct YAMLNode {
  enum Content {
    case scalar(String, isPlain: Bool)
    case sequence([YAMLNode])
    case mapping([YAMLEntry])
  }

  var place: TextPlace
  var content: Content

  /// What kind of node this is, in the words of a message.
  var kind: String {
    switch content {
    case .scalar(let text, isPlain: true) where Self.isNull(text): "nothing"
    case .scalar: "a single value"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }

  /// The spellings of null in the core schema of YAML 1.2, section 10.3.2.
  static func isNull(_ text: String) -> Bool {
    ["", "~", "null", "Null", "NULL"].contains(text)
  }
}

/// A key of a mapping and its value.
struct YAMLEntry {
  var key: String
  var keyPlace: TextPlace
  var value: YAMLNode
}

/// Builds the tree of the single document in a text, inside the limits on depth and nodes.
struct YAMLTreeBuilder: ~Copyable {
  private let file: String
  private var events: YAMLEvents
  private var nodes = 0

  /// Reads all of `bytes`.
  static func document(
    in bytes: [UInt8], file: String
  ) throws(ConfigurationError) -> YAMLNode {
    try checkUTF8(bytes, file: file)
    let byteOrderMark: [UInt8] = [0xef, 0xbb, 0xbf]
    let text = bytes.starts(with: byteOrderMark) ? Array(bytes.dropFirst(3)) : bytes
    var builder = YAMLTreeBuilder(events: try YAMLEvents(text, file: file), file: file)
    return try builder.document()
  }

  private init(events: consuming YAMLEvents, file: String) {
    self.file = file
    self.events = events
  }

  private mutating func document() throws(ConfigurationError) -> YAMLNode {
    guard case .documentStart = try events.next().kind else {
      throw ConfigurationError(file: file, line: 1, reason: "the file is empty")
    }
    let root = try node(from: try events.next(), depth: 1)
    _ = try events.next()
    let end = try events.next()
    guard case .streamEnd = end.kind else {
      throw error("there is more than one YAML document in the file", at: end.place)
    }
    return root
  }

  private mutating func node(
    from event: YAMLEvent, depth: Int
  ) throws(ConfigurationError) -> YAMLNode {
    nodes += 1
    guard nodes <= ConfigurationLimits.yamlNodes else {
      throw error("more than \(ConfigurationLimits.yamlNodes) YAML nodes", at: event.place)
    }
    guard depth <= ConfigurationLimits.yamlDepth else {
      throw error(
        "nested more than \(ConfigurationLimits.yamlDepth) levels deep", at: event.place)
    }
    switch event.kind {
    case .scalar(let text, let isPlain):
      return YAMLNode(place: event.place, content: .scalar(text, isPlain: isPlain))
    case .sequenceStart:
      return YAMLNode(place: event.place, content: .sequence(try items(depth: depth)))
    case .mappingStart:
      return YAMLNode(place: event.place, content: .mapping(try entries(depth: depth)))
    case .documentStart, .documentEnd, .streamEnd, .sequenceEnd, .mappingEnd:
      preconditionFailure("libyaml keeps the grammar of events")
    }
  }

  private mutating func items(depth: Int) throws(ConfigurationError) -> [YAMLNode] {
    var items: [YAMLNode] = []
    while true {
      let event = try events.next()
      if case .sequenceEnd = event.kind { return items }
      items.append(try node(from: event, depth: depth + 1))
    }
  }

  private mutating func entries(depth: Int) throws(ConfigurationError) -> [YAMLEntry] {
    var entries: [YAMLEntry] = []
    while true {
      let event = try events.next()
      if case .mappingEnd = event.kind { return entries }
      let key = try node(from: event, depth: depth + 1)
      guard case .scalar(let text, _) = key.content else {
        throw error("a key must be a single word", at: key.place)
      }
      let value = try node(from: try events.next(), depth: depth + 1)
      entries.append(YAMLEntry(key: text, keyPlace: key.place, value: value))
    }
  }

  private func error(_ reason: String, at place: TextPlace) -> ConfigurationError {
    ConfigurationError(file: file, line: place.line, column: place.column, reason: reason)
  }

  private static func checkUTF8(_ bytes: [UInt8], file: String) throws(ConfigurationError) {
    do {
      _ = try UTF8Span(validating: bytes.span)
    } catch {
      let line = bytes[..<error.byteOffsets.lowerBound].count(where: { $0 == UInt8(ascii: "\n") })
      throw ConfigurationError(file: file, line: line + 1, reason: "the text is not valid UTF-8")
    }
  }
}
