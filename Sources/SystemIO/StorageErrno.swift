import Glibc

/// Error numbers by which backing stores decide.
extension Errno {
  public static let accessDenied = Errno(EACCES)
  public static let busy = Errno(EBUSY)
  public static let interrupted = Errno(EINTR)
  public static let isDirectory = Errno(EISDIR)
  public static let noSystemCall = Errno(ENOSYS)
  public static let notConnected = Errno(ENOTCONN)
  public static let notPermitted = Errno(EPERM)
  /// What is to be written exceeds the place that its format has for it.
  public static let overflow = Errno(EOVERFLOW)
  public static let quotaExceeded = Errno(EDQUOT)
  public static let readOnlyFileSystem = Errno(EROFS)
  public static let shutDown = Errno(ESHUTDOWN)
}

extension Errno {
  /// The description, and what to do where a file of the product's own meets this error.
  public var withAdvice: String {
    switch self {
    case .noSpace, .quotaExceeded: "\(self): free or add space there"
    case .readOnlyFileSystem:
      "\(self): make it writable again; after an error the kernel does this, and its log says why"
    case .io: "\(self): check the device and the system's log"
    case .isDirectory: "\(self): a file is expected in its place; move it away"
    case .accessDenied: "\(self): give this process's user read and write access"
    case .overflow:
      "\(self): there is no place for it; use shorter paths of disks, or several groups"
    default: description
    }
  }
}
