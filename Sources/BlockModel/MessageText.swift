extension String {
  /// How many characters of a text from outside a message repeats.
  public static let quotedTextLimit = 80

  /// This text between single quotes and fit for one line of a message: control characters are
  /// written as `?`, and what is longer than `quotedTextLimit` characters is cut.
  public var quotedForMessage: String { "'" + onOneLine(limit: Self.quotedTextLimit) + "'" }

  /// How many characters of a sentence that another process says are repeated.
  public static let sentenceLimit = 1000

  /// A sentence of another process, fit for one line of a log: control characters are written as
  /// `?`, and what is longer than `limit` characters is cut.
  public init(oneLine bytes: some Collection<UInt8>, limit: Int = Self.sentenceLimit) {
    self = String(decoding: bytes, as: UTF8.self).onOneLine(limit: limit)
  }

  private func onOneLine(limit: Int) -> String {
    var shown = ""
    for (index, scalar) in unicodeScalars.enumerated() {
      if index == limit {
        shown += "…"
        break
      }
      shown.unicodeScalars.append(scalar.isControl ? "?" : scalar)
    }
    return shown
  }

  /// Such text, shown on a terminal, may do something else than be shown.
  public var hasControlCharacters: Bool { unicodeScalars.contains(where: \.isControl) }

  /// Whether the two texts are the same bytes. `==` also takes the Kelvin sign for a K.
  func hasSameBytes(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }
}

extension Unicode.Scalar {
  fileprivate var isControl: Bool { properties.generalCategory == .control }
}
