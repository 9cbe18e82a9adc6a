/// A run of bytes with one status in a metadata context.
public struct NBDStatusExtent: Equatable, Sendable {
  /// In bytes; at least 1, and without extended headers less than 2³².
  public let length: UInt64
  public let flags: UInt32

  public init(length: UInt64, flags: UInt32) {
    self.length = length
    self.flags = flags
  }
}

/// The chunk of a BLOCK_STATUS reply that answers for one context.
///
/// On the wire: a chunk header, context (4 bytes), then for each extent length (4) and flags (4).
/// Extended: context (4), number of extents (4), then for each extent length (8) and flags (8).
public enum NBDStatusChunk {
  public static func byteCount(extentCount: Int, _ headers: NBDHeaderStyle) -> Int {
    let payload = headers == .extended ? 8 + 16 * extentCount : 4 + 8 * extentCount
    return NBDChunkHeader.byteCount(headers) + payload
  }

  /// - Parameters:
  ///   - extents: consecutive from the request's offset; at least one.
  ///   - memory: the first of `byteCount(extentCount:_:)` writable bytes; needs no alignment.
  ///   - isLast: no other context's chunk follows.
  public static func write(
    _ extents: [NBDStatusExtent], context: UInt32, to tag: NBDRequestTag, isLast: Bool,
    _ headers: NBDHeaderStyle, at memory: UnsafeMutableRawPointer
  ) {
    precondition(!extents.isEmpty, "a status has at least one extent")
    let header = NBDChunkHeader.byteCount(headers)
    let isExtended = headers == .extended
    let byteCount = byteCount(extentCount: extents.count, headers)
    unsafe NBDChunkHeader(
      isExtended ? .blockStatusExtended : .blockStatus, tag,
      payloadBytes: UInt32(byteCount - header), isLast: isLast
    ).write(to: memory, headers)
    var next = unsafe memory + header
    func put<Value: FixedWidthInteger>(_ value: Value) {
      unsafe next.storeBytes(of: value.bigEndian, as: Value.self)
      unsafe next += MemoryLayout<Value>.size
    }
    put(context)
    if isExtended { put(UInt32(extents.count)) }
    for extent in extents {
      if isExtended {
        put(extent.length)
        put(UInt64(extent.flags))
      } else {
        put(UInt32(extent.length))
        put(extent.flags)
      }
    }
  }
}

/// The payload of an extended BLOCK_STATUS that asks for some of the selected contexts: length of
/// the range (8 bytes), then their identifiers (4 each).
public struct NBDStatusFilter: Equatable, Sendable {
  /// In bytes, checked to lie inside the export.
  public let length: UInt64
  /// At least one, each selected, none twice.
  public let identifiers: [UInt32]

  /// The longest payload that can be right.
  static let maximumPayloadBytes = 8 + 4 * NBDLimits.maximumContexts

  /// Nil unless the payload is what the specification demands; then the answer is EINVAL.
  public init?(parsing payload: [UInt8], of request: NBDRequest, in session: NBDSession) {
    var reader = BigEndianReader(payload)
    guard let length = reader.read(UInt64.self), reader.remainingCount > 0,
      reader.remainingCount.isMultiple(of: 4)
    else { return nil }
    let (end, overflow) = request.offset.addingReportingOverflow(length)
    guard length > 0, !overflow, end <= session.export.sizeBytes else { return nil }
    var identifiers: [UInt32] = []
    while let identifier = reader.read(UInt32.self) {
      guard !identifiers.contains(identifier),
        session.contexts.contains(where: { $0.identifier == identifier })
      else { return nil }
      identifiers.append(identifier)
    }
    self.length = length
    self.identifiers = identifiers
  }
}
