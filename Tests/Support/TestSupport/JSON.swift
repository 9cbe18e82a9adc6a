import Foundation

/// A JSON value to be looked into.
public enum JSON: Sendable, Equatable {
  case object([String: JSON])
  case array([JSON])
  case string(String)
  case number(Double)
  case boolean(Bool)
  case null

  /// - Throws: `RigError` with the text when it is not JSON.
  public init(_ text: String) throws {
    do {
      self = try JSONDecoder().decode(JSON.self, from: Data(text.utf8))
    } catch {
      throw RigError("not JSON (\(error)): \(text.prefix(500))")
    }
  }

  public subscript(_ key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members[key]
  }

  public var elements: [JSON] {
    switch self {
    case .array(let elements): elements
    case .object(let members): Array(members.values)
    default: []
    }
  }

  public var string: String? { if case .string(let value) = self { value } else { nil } }

  public var integer: Int? {
    guard case .number(let value) = self else { return nil }
    return Int(exactly: value.rounded())
  }

  public var number: Double? { if case .number(let value) = self { value } else { nil } }

  /// The value of `key` in this object or the nearest one inside it, in whatever style the key is
  /// spelt: `peerDurable` finds `peer_durable`.
  public func first(_ key: String) -> JSON? {
    let wanted = Self.normalized(key)
    var level = [self]
    while !level.isEmpty {
      for case .object(let members) in level {
        if let found = members.first(where: { Self.normalized($0.key) == wanted }) {
          return found.value
        }
      }
      level = level.flatMap(\.elements)
    }
    return nil
  }

  private static func normalized(_ key: String) -> String {
    key.lowercased().filter { $0 != "_" && $0 != "-" }
  }
}

extension JSON: Decodable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .boolean(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSON].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSON].self))
    }
  }
}
