import Glibc

/// Error numbers by which backing stores decide.
extension Errno {
  public static let accessDenied = Errno(EACCES)
  public static let busy = Errno(EBUSY)
  public static let interrupted = Errno(EINTR)
  public static let noSystemCall = Errno(ENOSYS)
  public static let notConnected = Errno(ENOTCONN)
  public static let notPermitted = Errno(EPERM)
  public static let quotaExceeded = Errno(EDQUOT)
  public static let readOnlyFileSystem = Errno(EROFS)
  public static let shutDown = Errno(ESHUTDOWN)
}
