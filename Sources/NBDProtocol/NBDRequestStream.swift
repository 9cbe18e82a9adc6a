/// The client's stream in the transmission phase, without I/O.
///
/// The owner keeps what has arrived, asks for one step after another and drops what each consumed.
/// A payload that the server wants is the owner's to take: after `.execute` of a WRITE or a
/// filtered BLOCK_STATUS, `request.length` bytes come before the next step. One that nobody wants
/// is thrown away here, as it arrives, before the request's refusal is told.
///
/// Holds no bytes and does not allocate.
public struct NBDRequestStream: Sendable {
  public enum Step: Equatable, Sendable {
    /// More bytes must arrive first.
    case wait
    /// Valid (`NBDExportLimits.validate`).
    case execute(NBDOperation, NBDRequest)
    /// Answer with the error, and with the text where the headers have room for it.
    case refuse(NBDRequestTag, NBDError, NBDErrorText)
    /// The stream ends here: nothing behind it is to be looked at.
    case disconnect(NBDDisconnection)
  }

  /// A request that is refused once its payload has been thrown away.
  public struct Refusal: Equatable, Sendable {
    public let tag: NBDRequestTag
    public let error: NBDError
    public let text: NBDErrorText
    public var remainingBytes: Int

    /// - Parameter text: that of the error when nil.
    public init(
      tag: NBDRequestTag, error: NBDError, text: NBDErrorText? = nil, remainingBytes: Int
    ) {
      self.tag = tag
      self.error = error
      self.text = text ?? error.text
      self.remainingBytes = remainingBytes
    }
  }

  private let limits: NBDExportLimits
  /// Whose payload is being thrown away. May be set before the first step, by who goes on where
  /// another has stopped.
  public var refusal: Refusal?

  public init(_ limits: NBDExportLimits) { self.limits = limits }

  /// A payload is being thrown away. What arrives then makes no work for anybody, so no limit
  /// need hold it up.
  public var isDraining: Bool { refusal != nil }

  /// Takes the next step from the front of `bytes`, and consumes what it stands for.
  @inline(__always)
  public mutating func next(_ bytes: UnsafeRawBufferPointer) -> (consumed: Int, step: Step) {
    if refusal != nil { return drain(bytes.count) }
    let headerBytes = NBDRequest.byteCount(limits.headers)
    guard bytes.count >= headerBytes, let header = bytes.baseAddress else { return (0, .wait) }
    guard let request = unsafe NBDRequest(parsing: header, headers: limits.headers) else {
      return (0, .disconnect(.notARequest))
    }
    switch limits.validate(request) {
    case .execute(let operation):
      return (headerBytes, .execute(operation, request))
    case .refuse(let error, let drainBytes):
      refusal = Refusal(
        tag: request.tag, error: error, text: limits.text(for: error, of: request),
        remainingBytes: Int(drainBytes))
      let (drained, step) = drain(bytes.count - headerBytes)
      return (headerBytes + drained, step)
    case .disconnect(let reason):
      return (0, .disconnect(reason))
    }
  }

  /// - Parameter available: bytes that have arrived.
  private mutating func drain(_ available: Int) -> (consumed: Int, step: Step) {
    guard var refusal else { return (0, .wait) }
    let drained = min(available, refusal.remainingBytes)
    refusal.remainingBytes -= drained
    guard refusal.remainingBytes == 0 else {
      self.refusal = refusal
      return (drained, .wait)
    }
    self.refusal = nil
    return (drained, .refuse(refusal.tag, refusal.error, refusal.text))
  }
}
