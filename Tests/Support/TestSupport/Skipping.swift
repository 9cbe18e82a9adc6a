import Testing

/// Ends the current test as skipped, and says why: something that it needs is not here, which shows
/// only while it runs. Swift 6.2 knows no such end: there the test fails with the reason.
public func skipTest(_ reason: String) throws -> Never {
  #if compiler(>=6.3)
    try Test.cancel("\(reason)")
  #else
    throw RigError("cannot run here, and Swift 6.2 cannot skip it: \(reason)")
  #endif
}
