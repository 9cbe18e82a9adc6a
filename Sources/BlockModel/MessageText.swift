extension String {
  /// How many characters of a text from outside a message repeats.
  public static let quotedTextLimit = 80

  /// This text between single quotes and fit for one line of a message: control characters are
  /// written as `?`, and what is longer than `quotedTextLimit` characters is cut.
  public var quotedForMessage: String {
    var shown = ""
    for (index, scalar) in unicodeScalars.enumerated() {
      if index == Self.quotedTextLimit {
        shown += "…"
        break
      }
      let isControl = scalar.properties.generalCategory == .control
      shown.unicodeScalars.append(isControl ? "?" : scalar)
    }
    return "'" + shown + "'"
  }

  /// Whether the two texts are the same bytes. `==` also takes the Kelvin sign for a K.
  func hasSameBytes(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }
}
