import CYAML

/// A place in a text; both count from 1.
struct TextPlace: Equatable {
  var line: Int
  var column: Int
}

/// One step of a YAML text.
struct YAMLEvent {
  enum Kind {
    case documentStart
    case documentEnd
    case streamEnd
    /// `isPlain` is false for a scalar in quotes or in block style.
    case scalar(String, isPlain: Bool)
    case sequenceStart
    case sequenceEnd
    case mappingStart
    case mappingEnd
  }

  var kind: Kind
  var place: TextPlace
}

/// The events of one YAML text, by libyaml. Anchors, aliases and tags are refused, so that the
/// tree never has more nodes than the text has.
@safe struct YAMLEvents: ~Copyable {
  private let file: String
  private let input: UnsafeMutableBufferPointer<UInt8>
  private let parser: UnsafeMutablePointer<yaml_parser_t>

  /// `bytes` must be valid UTF-8.
  init(_ bytes: [UInt8], file: String) throws(ConfigurationError) {
    self.file = file
    unsafe input = .allocate(capacity: bytes.count)
    _ = unsafe input.initialize(from: bytes)
    unsafe parser = .allocate(capacity: 1)
    unsafe parser.initialize(to: yaml_parser_t())
    // The parser keeps the address of the input, which stays where it is until deinit.
    guard unsafe yaml_parser_initialize(parser) == 1 else {
      throw ConfigurationError(file: file, reason: "out of memory")
    }
    unsafe yaml_parser_set_input_string(parser, input.baseAddress, input.count)
    unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
  }

  deinit {
    unsafe yaml_parser_delete(parser)
    unsafe parser.deallocate()
    unsafe input.deallocate()
  }

  /// The next event; `streamEnd` is the last.
  mutating func next() throws(ConfigurationError) -> YAMLEvent {
    while true {
      var event = unsafe yaml_event_t()
      guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw syntaxError() }
      defer { unsafe yaml_event_delete(&event) }
      let mark = unsafe event.start_mark
      let place = TextPlace(line: Int(mark.line) + 1, column: Int(mark.column) + 1)
      if let kind = try unsafe kind(of: event, at: place) {
        return YAMLEvent(kind: kind, place: place)
      }
    }
  }

  /// Nil for an event that says nothing.
  private func kind(
    of event: yaml_event_t, at place: TextPlace
  ) throws(ConfigurationError) -> YAMLEvent.Kind? {
    switch unsafe event.type {
    case YAML_DOCUMENT_START_EVENT: return .documentStart
    case YAML_DOCUMENT_END_EVENT: return .documentEnd
    case YAML_STREAM_END_EVENT: return .streamEnd
    case YAML_SEQUENCE_END_EVENT: return .sequenceEnd
    case YAML_MAPPING_END_EVENT: return .mappingEnd
    case YAML_ALIAS_EVENT: throw error("an alias (*) is not allowed here", at: place)
    case YAML_SCALAR_EVENT:
      let scalar = unsafe event.data.scalar
      try refuse(anchor: unsafe scalar.anchor != nil, tag: unsafe scalar.tag != nil, at: place)
      let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
      let isPlain = unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE
      return .scalar(unsafe String(decoding: bytes, as: UTF8.self), isPlain: isPlain)
    case YAML_SEQUENCE_START_EVENT:
      let start = unsafe event.data.sequence_start
      try refuse(anchor: unsafe start.anchor != nil, tag: unsafe start.tag != nil, at: place)
      return .sequenceStart
    case YAML_MAPPING_START_EVENT:
      let start = unsafe event.data.mapping_start
      try refuse(anchor: unsafe start.anchor != nil, tag: unsafe start.tag != nil, at: place)
      return .mappingStart
    default: return nil
    }
  }

  private func refuse(
    anchor hasAnchor: Bool, tag hasTag: Bool, at place: TextPlace
  ) throws(ConfigurationError) {
    if hasAnchor { throw error("an anchor (&) is not allowed here", at: place) }
    if hasTag { throw error("a tag (!) is not allowed here", at: place) }
  }

  private func error(_ reason: String, at place: TextPlace) -> ConfigurationError {
    ConfigurationError(file: file, line: place.line, column: place.column, reason: reason)
  }

  /// What libyaml found wrong. Its reader knows a byte offset instead of a line.
  private func syntaxError() -> ConfigurationError {
    let problem = unsafe parser.pointee.problem.map { unsafe String(cString: $0) }
    var reason = problem ?? "not YAML"
    if let context = unsafe parser.pointee.context.map({ unsafe String(cString: $0) }) {
      reason += " " + context
    }
    switch unsafe parser.pointee.error {
    case YAML_MEMORY_ERROR:
      return ConfigurationError(file: file, reason: "out of memory")
    case YAML_READER_ERROR:
      let offset = min(unsafe Int(parser.pointee.problem_offset), unsafe input.count)
      let line = unsafe input[..<offset].count(where: { $0 == UInt8(ascii: "\n") }) + 1
      return ConfigurationError(file: file, line: line, reason: "not YAML: \(reason)")
    default:
      let mark = unsafe parser.pointee.problem_mark
      let place = TextPlace(line: Int(mark.line) + 1, column: Int(mark.column) + 1)
      return error("not YAML: \(reason)", at: place)
    }
  }
}
