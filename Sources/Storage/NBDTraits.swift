import CNBD

/// What a server says of its export in the handshake.
struct NBDTraits: Equatable, Sendable {
  var byteCount: UInt64
  /// Offsets and lengths of requests are multiples of it; a power of two.
  var blockBytes: UInt64
  /// The most payload of a request; a multiple of `blockBytes`.
  var requestBytes: UInt64
  var isReadOnly: Bool
  var canFlush: Bool
  var canFUA: Bool
  var canZero: Bool
  var canMultiConn: Bool
  var hasAllocationContext: Bool

  /// Every write carries FUA, because the server has no FLUSH.
  var needsFUA: Bool { !canFlush }

  /// - Parameter handle: connected.
  init(of handle: OpaquePointer) {
    func isSet(_ answer: Int32) -> Bool { answer == 1 }
    // Negative means an error or not known; 0 of a block size means that the server named none. A
    // server that names no minimum should support 1 (NBD protocol, "Block size constraints").
    byteCount = UInt64(max(0, unsafe nbd_get_size(handle)))
    let minimum = unsafe nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM)
    blockBytes = UInt64(max(1, minimum))
    let maximum = unsafe nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM)
    let most = maximum > 0 ? UInt64(maximum) : UpstreamLimits.requestBytes
    requestBytes = min(most, UpstreamLimits.requestBytes) / blockBytes * blockBytes
    isReadOnly = unsafe isSet(nbd_is_read_only(handle))
    canFlush = unsafe isSet(nbd_can_flush(handle))
    canFUA = unsafe isSet(nbd_can_fua(handle))
    canZero = unsafe isSet(nbd_can_zero(handle))
    canMultiConn = unsafe isSet(nbd_can_multi_conn(handle))
    hasAllocationContext = unsafe isSet(
      nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION))
  }

  /// Whether an export of these traits can take the place of one that had `other`: the same
  /// abilities, and not smaller than the `byteCount` that is in use.
  func canReplace(_ other: NBDTraits, of byteCount: UInt64) -> Bool {
    var same = self
    same.byteCount = other.byteCount
    return same == other && self.byteCount >= byteCount
  }

  /// Why the export cannot be a backing store, and what to do; nil when it can.
  var obstacle: String? {
    if isReadOnly { return "the server exports it read-only: export it writable" }
    if !canFlush && !canFUA {
      return "the server offers neither FLUSH nor FUA, so nothing written would be surely durable"
    }
    guard blockBytes & (blockBytes - 1) == 0, blockBytes <= UpstreamLimits.blockBytes,
      requestBytes >= blockBytes
    else {
      return "the server's block sizes are not valid (minimum \(blockBytes), most \(requestBytes))"
    }
    if byteCount % blockBytes != 0 {
      return """
        the server takes only blocks of \(blockBytes) bytes and the size of \(byteCount) bytes is \
        no multiple: resize the export
        """
    }
    return nil
  }
}
