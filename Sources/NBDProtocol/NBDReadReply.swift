/// Builds the reply to a READ in place, from the start of its range to the end: the caller fills in
/// the bytes where they will be sent from.
///
/// With simple replies: one header and all bytes. With chunks: OFFSET_DATA (a chunk header, offset
/// (8 bytes), data) for runs of bytes, OFFSET_HOLE (a chunk header, offset (8), size (4)) for
/// zeros. Neither allocates nor reads what it is not given.
@safe public struct NBDReadReply {
  /// Shorter runs of zeros are sent as data: a hole and the header behind it cost up to 84 bytes
  /// and the client a chunk more.
  public static let minimumHoleBytes = 4096
  /// Borders between chunks are multiples of it, as the specification advises.
  private static let borderBytes: UInt64 = 512

  private enum Chunk {
    case none
    /// Data that began at this position of the memory and this offset of the export.
    case data(position: Int, offset: UInt64)
    case hole(position: Int, offset: UInt64)
  }

  private let memory: UnsafeMutableRawPointer
  private let tag: NBDRequestTag
  private let headers: NBDHeaderStyle
  private let mayHaveHoles: Bool
  /// Of the export: everything before it is in the reply.
  private var offset: UInt64
  private let end: UInt64
  /// Bytes of the reply so far.
  private var position: Int
  private var chunk = Chunk.none
  /// The hole, if any, in front of the data that are being appended.
  private var chunkBefore = Chunk.none

  /// Bytes of memory in which the reply to a READ of `length` bytes has room. Every hole is longer
  /// than what it costs.
  @inline(__always)
  public static func capacity(length: Int) -> Int {
    length &+ 128 &+ NBDErrorText.maximumByteCount
  }

  /// - Parameters:
  ///   - request: valid (`NBDExportLimits.validate`).
  ///   - memory: the first of `capacity(length:)` writable bytes, which stay where they are until
  ///     the reply is finished.
  @inline(__always)
  public init(
    to request: NBDRequest, _ headers: NBDHeaderStyle, in memory: UnsafeMutableRawPointer
  ) {
    unsafe self.memory = memory
    self.headers = headers
    tag = request.tag
    mayHaveHoles = headers != .simple && !request.flags.contains(.dontFragment)
    offset = request.offset
    end = request.offset &+ request.length
    position = headers == .simple ? NBDReply.simpleByteCount : 0
  }

  /// Appends `count` (at least 1) bytes of the export, which the caller must fill in before the
  /// reply is sent.
  @inline(__always)
  public mutating func appendData(_ count: Int) -> UnsafeMutableRawBufferPointer {
    if headers != .simple { beginData() }
    let bytes = unsafe UnsafeMutableRawBufferPointer(start: memory + position, count: count)
    position &+= count
    offset &+= UInt64(count)
    return unsafe bytes
  }

  @inline(__always)
  private mutating func beginData() {
    if case .data = chunk { return }
    endChunk(isLast: false)
    chunkBefore = chunk
    chunk = .data(position: position, offset: offset)
    position &+= NBDChunkHeader.byteCount(headers) &+ 8
  }

  /// Appends `count` (at least 1) bytes that are zero.
  public mutating func appendZeros(_ count: Int) {
    let zerosEnd = offset + UInt64(count)
    guard mayHaveHoles else { return appendZeroBytes(through: zerosEnd) }
    var start = offset
    if case .data = chunk { start = (start + Self.borderBytes - 1) & ~(Self.borderBytes - 1) }
    let stop = zerosEnd == end ? end : zerosEnd & ~(Self.borderBytes - 1)
    guard stop > start, continuesHole || stop - start >= UInt64(Self.minimumHoleBytes) else {
      return appendZeroBytes(through: zerosEnd)
    }
    appendZeroBytes(through: start)
    if !continuesHole {
      endChunk(isLast: false)
      chunk = .hole(position: position, offset: offset)
      position += NBDChunkHeader.byteCount(headers) + 12
    }
    offset = stop
    appendZeroBytes(through: zerosEnd)
  }

  /// Looks at the `count` bytes appended last, which the caller has filled in, and sends a hole
  /// instead when all are zero. Stops at the first that is not.
  @inline(__always)
  public mutating func foldZeros(_ count: Int) {
    if mayHaveHoles, count >= Self.minimumHoleBytes { foldLongZeros(count) }
  }

  private mutating func foldLongZeros(_ count: Int) {
    let bytes = unsafe UnsafeRawBufferPointer(start: memory + (position - count), count: count)
    var index = 0
    while index + 8 <= count {
      if unsafe bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self) != 0 { return }
      index += 8
    }
    while index < count {
      if unsafe bytes[index] != 0 { return }
      index += 1
    }
    dropData(from: offset - UInt64(count))
    appendZeros(count)
  }

  private var continuesHole: Bool { if case .hole = chunk { true } else { false } }

  private mutating func appendZeroBytes(through zerosEnd: UInt64) {
    if zerosEnd == offset { return }
    unsafe appendData(Int(zerosEnd - offset)).initializeMemory(as: UInt8.self, repeating: 0)
  }

  /// Ends a reply that holds the whole range; returns its bytes.
  @inline(__always)
  public mutating func finish() -> Int {
    if headers == .simple {
      unsafe NBDReply(tag).writeSimple(to: memory)
    } else {
      endChunk(isLast: true)
    }
    return position
  }

  /// Ends the reply because the bytes from `failed` on, which lie in what was appended last, cannot
  /// be had; returns its bytes. What is before them stays valid for a client that takes chunks.
  public mutating func fail(_ error: NBDError, from failed: UInt64) -> Int {
    if headers == .simple {
      return unsafe NBDReply(tag, error: error).write(to: memory, .simple)
    }
    dropData(from: failed)
    endChunk(isLast: false)
    let header = NBDChunkHeader.byteCount(headers)
    let start = unsafe memory + position
    let text = error.text
    let payloadBytes = 14 + text.byteCount
    unsafe NBDChunkHeader(.errorOffset, tag, payloadBytes: UInt32(payloadBytes), isLast: true)
      .write(to: start, headers)
    unsafe text.write(error, to: start + header)
    unsafe start.storeBytes(
      of: offset.bigEndian, toByteOffset: header + 6 + text.byteCount, as: UInt64.self)
    return position + header + payloadBytes
  }

  private mutating func dropData(from failed: UInt64) {
    guard case .data(let chunkPosition, let chunkOffset) = chunk else { return }
    if failed > chunkOffset {
      position -= Int(offset - failed)
    } else {
      position = chunkPosition
      chunk = chunkBefore
    }
    offset = failed
  }

  /// Writes the header of the chunk that ends here, now that its length is known.
  @inline(__always)
  private func endChunk(isLast: Bool) {
    let header = NBDChunkHeader.byteCount(headers)
    switch chunk {
    case .none: break
    case .data(let position, let offset):
      let start = unsafe memory + position
      let payloadBytes = UInt32(truncatingIfNeeded: self.position &- position &- header)
      unsafe NBDChunkHeader(.offsetData, tag, payloadBytes: payloadBytes, isLast: isLast)
        .write(to: start, headers)
      unsafe start.storeBytes(of: offset.bigEndian, toByteOffset: header, as: UInt64.self)
    case .hole(let position, let offset):
      let start = unsafe memory + position
      unsafe NBDChunkHeader(.offsetHole, tag, payloadBytes: 12, isLast: isLast)
        .write(to: start, headers)
      unsafe start.storeBytes(of: offset.bigEndian, toByteOffset: header, as: UInt64.self)
      let size = UInt32(truncatingIfNeeded: self.offset &- offset)
      unsafe start.storeBytes(of: size.bigEndian, toByteOffset: header + 8, as: UInt32.self)
    }
  }
}
