/// What a client wants of the metadata contexts that it asks for.
public enum NBDContextIntent: Equatable, Sendable {
  /// LIST_META_CONTEXT: which there are.
  case list
  /// SET_META_CONTEXT: use them for BLOCK_STATUS.
  case select
}

/// The data of LIST_META_CONTEXT and SET_META_CONTEXT: length of name (4 bytes), name of the
/// export, count (4), `count` queries, each with its length (4) in front.
public struct NBDContextRequest: Equatable, Sendable {
  public let exportName: String
  /// As sent; at most `NBDLimits.maximumContextQueries`. None: LIST asks for all, SET for none.
  public let queries: [String]
  public let intent: NBDContextIntent

  public init(exportName: String, queries: [String], intent: NBDContextIntent) {
    self.exportName = exportName
    self.queries = queries
    self.intent = intent
  }

  /// Reserves nothing for a count that was only announced.
  init(parsing data: [UInt8], intent: NBDContextIntent) throws(NBDContextRequestError) {
    var reader = BigEndianReader(data)
    guard let nameBytes = reader.read(UInt32.self),
      let encodedName = reader.read(count: Int(nameBytes)),
      let count = reader.read(UInt32.self)
    else { throw .inconsistentLengths }
    guard let name = protocolString(decoding: encodedName) else { throw .invalidString }
    guard count <= NBDLimits.maximumContextQueries else { throw .tooManyQueries }
    var queries: [String] = []
    for _ in 0..<count {
      guard let queryBytes = reader.read(UInt32.self),
        let encodedQuery = reader.read(count: Int(queryBytes))
      else { throw .inconsistentLengths }
      guard let query = protocolString(decoding: encodedQuery) else { throw .invalidString }
      queries.append(query)
    }
    guard reader.remainingCount == 0 else { throw .inconsistentLengths }
    exportName = name
    self.queries = queries
    self.intent = intent
  }
}

enum NBDContextRequestError: Error {
  case inconsistentLengths
  case invalidString
  case tooManyQueries

  var replyType: NBDOptionReplyType {
    switch self {
    case .inconsistentLengths, .invalidString: .invalid
    case .tooManyQueries: .tooBig
    }
  }

  var message: String {
    switch self {
    case .inconsistentLengths: "lengths inside the option data do not add up"
    case .invalidString: "a name or query is too long, not UTF-8 or contains NUL"
    case .tooManyQueries: "more than \(NBDLimits.maximumContextQueries) queries"
    }
  }
}
