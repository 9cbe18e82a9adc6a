import Glibc

// The one funnel: every system call of the product is made in this module, and its result goes
// through one of these two functions, which turn -1 into a typed `Errno` and repeat EINTR.

/// The result of `call`, repeated while a signal interrupts it.
@inline(__always)
func retrying<Result: FixedWidthInteger>(
  _ call: () -> Result
) throws(Errno) -> Result {
  while true {
    let result = call()
    if result != -1 { return result }
    let code = errno
    if code != EINTR { throw Errno(code) }
  }
}

/// As `retrying`, for descriptors that do not block: nil when the call would have to wait.
@inline(__always)
func retryingNonblocking<Result: FixedWidthInteger>(
  _ call: () -> Result
) throws(Errno) -> Result? {
  while true {
    let result = call()
    if result != -1 { return result }
    let code = errno
    if code == EAGAIN { return nil }
    if code != EINTR { throw Errno(code) }
  }
}
