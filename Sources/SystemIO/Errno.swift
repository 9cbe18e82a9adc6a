import Glibc

/// An error number of the operating system. The only error that the syscall funnel throws.
public struct Errno: Error, Equatable, Hashable, Sendable, CustomStringConvertible {
  public let code: Int32

  public init(_ code: Int32) { self.code = code }

  /// The calling thread's `errno`.
  public static var current: Errno { Errno(errno) }

  public static let addressInUse = Errno(EADDRINUSE)
  public static let again = Errno(EAGAIN)
  public static let brokenPipe = Errno(EPIPE)
  public static let connectionReset = Errno(ECONNRESET)
  public static let exists = Errno(EEXIST)
  public static let fileTooLarge = Errno(EFBIG)
  public static let invalid = Errno(EINVAL)
  public static let io = Errno(EIO)
  public static let notFound = Errno(ENOENT)
  public static let noSpace = Errno(ENOSPC)
  public static let notSocket = Errno(ENOTSOCK)
  public static let notSupported = Errno(EOPNOTSUPP)
  public static let protocolError = Errno(EPROTO)
  public static let timedOut = Errno(ETIMEDOUT)

  public var description: String {
    guard let text = unsafe strerror(code) else { return "error \(code)" }
    return unsafe String(cString: text)
  }
}
