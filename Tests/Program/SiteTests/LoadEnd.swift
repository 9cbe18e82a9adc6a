import TestSupport
import Testing

extension SitePair {
  /// Stops the load of the disk `disk`: it met no failure, each of its writes is there as it was
  /// acknowledged, and both sites hold the same.
  func expectNothingLost(
    by load: WriteLoad, _ history: WriteHistory, at location: SourceLocation = #_sourceLocation
  ) throws {
    try load.stop()
    #expect(load.failure == nil, sourceLocation: location)
    let image = try east.image("disk")
    #expect(history.violations(in: image) == [], sourceLocation: location)
    try drain()
    #expect(difference(try west.image("disk@latest"), image) == nil, sourceLocation: location)
  }
}
