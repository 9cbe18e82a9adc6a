import BlockModel
import SystemIO

// Requests of any size and alignment as requests that the server takes: cut to its largest, and
// widened to its blocks. Who changes a block in part keeps other writers out (see `WriteGate`).
extension UpstreamConnection {
  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, traits: NBDTraits
  ) throws(NBDFailure) {
    let range = ByteRange(start: offset, length: UInt64(buffer.count))
    let parts = AlignedParts(of: range, block: traits.blockBytes)
    try unsafe readPart(parts.head, into: buffer, range.start, traits)
    var position = parts.middle.start
    while position < parts.middle.end {
      let count = min(traits.requestBytes, parts.middle.end - position)
      let piece = unsafe Self.slice(buffer, position - range.start, count)
      try unsafe read(into: piece, at: position)
      position += count
    }
    try unsafe readPart(parts.tail, into: buffer, range.start, traits)
  }

  /// Reads a part of one block, through scratch memory, to its place in the buffer.
  private func readPart(
    _ part: ByteRange, into buffer: UnsafeMutableRawBufferPointer, _ bufferStart: UInt64,
    _ traits: NBDTraits
  ) throws(NBDFailure) {
    if part.isEmpty { return }
    let (block, blockStart) = try unsafe readBlock(around: part, traits)
    unsafe Self.slice(buffer, part.start - bufferStart, part.length).copyMemory(
      from: UnsafeRawBufferPointer(Self.slice(block, part.start - blockStart, part.length)))
  }

  func write(
    _ buffer: UnsafeRawBufferPointer, at offset: UInt64, traits: NBDTraits
  ) throws(NBDFailure) {
    let range = ByteRange(start: offset, length: UInt64(buffer.count))
    let parts = AlignedParts(of: range, block: traits.blockBytes)
    try unsafe writePart(parts.head, from: buffer, range.start, traits)
    var position = parts.middle.start
    while position < parts.middle.end {
      let count = min(traits.requestBytes, parts.middle.end - position)
      try unsafe write(Self.slice(buffer, position - range.start, count), at: position)
      position += count
    }
    try unsafe writePart(parts.tail, from: buffer, range.start, traits)
  }

  private func writePart(
    _ part: ByteRange, from buffer: UnsafeRawBufferPointer, _ bufferStart: UInt64,
    _ traits: NBDTraits
  ) throws(NBDFailure) {
    if part.isEmpty { return }
    let (block, blockStart) = try unsafe readBlock(around: part, traits)
    unsafe Self.slice(block, part.start - blockStart, part.length).copyMemory(
      from: Self.slice(buffer, part.start - bufferStart, part.length))
    try unsafe write(UnsafeRawBufferPointer(block), at: blockStart)
  }

  /// Makes the range read as zeros: by WRITE_ZEROES, or with data where the server has none.
  func zero(
    _ range: ByteRange, mayFreeSpace: Bool, traits: NBDTraits
  ) throws(NBDFailure) {
    let parts = AlignedParts(of: range, block: traits.blockBytes)
    try writeZeros(parts.head, traits)
    var position = parts.middle.start
    var isOffered = traits.canZero
    while position < parts.middle.end {
      let count = min(UpstreamLimits.zeroBytes, parts.middle.end - position)
      let piece = ByteRange(start: position, length: count)
      if isOffered { isOffered = try tryZero(piece, mayFreeSpace: mayFreeSpace) }
      if !isOffered {
        if mayFreeSpace, traits.hasAllocationContext {
          try clearData(in: piece, traits)
        } else {
          try writeZeros(piece, traits)
        }
      }
      position += count
    }
    try writeZeros(parts.tail, traits)
  }

  /// Leaves alone what is zeros already: it may have no space, and need none.
  private func clearData(in range: ByteRange, _ traits: NBDTraits) throws(NBDFailure) {
    var position = range.start
    while position < range.end,
      let data = try nextDataRange(from: position, limit: range.end, traits: traits)
    {
      let parts = AlignedParts(of: data, block: traits.blockBytes)
      let start = parts.head.isEmpty ? data.start : data.start & ~(traits.blockBytes - 1)
      let end = parts.tail.isEmpty ? data.end : (data.end | (traits.blockBytes - 1)) + 1
      try writeZeros(ByteRange(start: start, end: end), traits)
      position = end
    }
  }

  /// False when the server does not do it.
  private func tryZero(_ range: ByteRange, mayFreeSpace: Bool) throws(NBDFailure) -> Bool {
    do {
      try zero(range, mayFreeSpace: mayFreeSpace)
      return true
    } catch .refused(.notSupported, _), .refused(.invalid, _) {
      return false
    }
  }

  private func writeZeros(_ range: ByteRange, _ traits: NBDTraits) throws(NBDFailure) {
    var position = range.start
    while position < range.end {
      let count = min(UInt64(ZeroBytes.count), range.end - position)
      try unsafe write(ZeroBytes.first(Int(count)), at: position, traits: traits)
      position += count
    }
  }

  // MARK: Gathering

  /// Writes the list's pieces as one range. Small ones are copied together, so that they share a
  /// round trip; the copy costs less than the system calls of another request.
  func write(
    gathering list: borrowing GatherList, at offset: UInt64, traits: NBDTraits
  ) throws(NBDFailure) {
    var failure: NBDFailure?
    var position = offset
    var gathered = 0
    let area = unsafe gatherArea
    func send(_ buffer: UnsafeRawBufferPointer) {
      guard failure == nil, unsafe !buffer.isEmpty else { return }
      do throws(NBDFailure) {
        try unsafe write(buffer, at: position, traits: traits)
        position += UInt64(buffer.count)
      } catch { failure = error }
    }
    func sendGathered() {
      unsafe send(UnsafeRawBufferPointer(rebasing: area[..<gathered]))
      gathered = 0
    }
    unsafe list.forEachPiece { piece in
      if piece.count > area.count - gathered { sendGathered() }
      if piece.count > area.count { return unsafe send(piece) }
      unsafe UnsafeMutableRawBufferPointer(rebasing: area[gathered...]).copyMemory(from: piece)
      gathered += piece.count
    }
    sendGathered()
    if let failure { throw failure }
  }

  // MARK: Allocation

  /// See `BackingStore.nextDataRange`; the server has the context `base:allocation`.
  func nextDataRange(
    from offset: UInt64, limit: UInt64, traits: NBDTraits
  ) throws(NBDFailure) -> ByteRange? {
    var scan = ExtentScan(from: offset, limit: limit)
    let exportEnd = self.traits?.byteCount ?? traits.byteCount
    while !scan.isComplete {
      let position = scan.position
      let start = position & ~(traits.blockBytes - 1)
      let end = min(start + UpstreamLimits.statusBytes, exportEnd)
      scan.beginAnswer(leadBytes: position - start)
      try status(of: ByteRange(start: start, end: end), scan: &scan)
      // An answer without an extent tells nothing: what is not known is data.
      if scan.position == position { scan.add(length: limit - position, flags: 0) }
      if scan.data != nil { break }
    }
    return scan.data
  }

  // MARK: Memory

  private var gatherArea: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(
      rebasing: scratch.bytes[..<Int(UpstreamLimits.gatherBytes)])
  }

  /// The block that holds `part`, in scratch memory, and where it starts.
  private func readBlock(
    around part: ByteRange, _ traits: NBDTraits
  ) throws(NBDFailure) -> (UnsafeMutableRawBufferPointer, UInt64) {
    let blockStart = part.start & ~(traits.blockBytes - 1)
    let block = unsafe Self.slice(scratch.bytes, UpstreamLimits.gatherBytes, traits.blockBytes)
    try unsafe read(into: block, at: blockStart)
    return unsafe (block, blockStart)
  }

  private static func slice(
    _ buffer: UnsafeMutableRawBufferPointer, _ start: UInt64, _ count: UInt64
  ) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[Int(start)..<Int(start + count)])
  }

  private static func slice(
    _ buffer: UnsafeRawBufferPointer, _ start: UInt64, _ count: UInt64
  ) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: buffer[Int(start)..<Int(start + count)])
  }
}
