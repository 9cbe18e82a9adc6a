import Foundation
import TestSupport

extension Site {
  /// A start takes less than this, most of the time.
  private static let startMilliseconds = 60

  /// Starts a site that has crashed. Now and then it crashes again, by `end`, while it recovers.
  func restart(
    despite end: (Site) throws -> Void, using generator: inout SeededGenerator
  ) throws {
    while Int.random(in: 0..<4, using: &generator) == 0 {
      try launch()
      let delay = Int.random(in: 0...Self.startMilliseconds, using: &generator)
      Thread.sleep(forTimeInterval: Double(delay) / 1000)
      try end(self)
    }
    try start()
  }
}
