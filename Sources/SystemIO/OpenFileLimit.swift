import Glibc

/// How many descriptors the process may have open (`RLIMIT_NOFILE`).
public enum OpenFileLimit {
  /// Raises the limit to `count`, if it is lower: up to the hard limit, and beyond it where the
  /// process may do that. Returns the limit that holds then.
  public static func raise(to count: Int) throws(Errno) -> Int {
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    _ = try retrying { unsafe getrlimit(resource, &limit) }
    let wanted = rlim_t(count)
    if limit.rlim_cur >= wanted { return Int(clamping: limit.rlim_cur) }
    var raised = rlimit(rlim_cur: wanted, rlim_max: max(wanted, limit.rlim_max))
    if unsafe setrlimit(resource, &raised) == 0 { return count }
    raised = rlimit(rlim_cur: min(wanted, limit.rlim_max), rlim_max: limit.rlim_max)
    _ = try retrying { unsafe setrlimit(resource, &raised) }
    return Int(clamping: raised.rlim_cur)
  }
}
