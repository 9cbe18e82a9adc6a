import Journal
import SystemIO

/// How little of a site's index is in memory, and what happens to its files. Nothing depends on
/// these, so whatever happens to them excuses nothing.
struct IndexPlan {
  let mapByteLimit: Int
  let cacheByteLimit: Int
  /// Of a generation.
  let recordLimit: Int
  /// From one time of errors to the next; nil: there are none.
  let errorInterval: UInt64?
  /// From one file that is changed to the next.
  let damageInterval: UInt64?

  /// Of a site's process.
  var memory: IndexMemory {
    IndexMemory(
      mapByteLimit: mapByteLimit, cacheByteLimit: cacheByteLimit, recordLimit: recordLimit)
  }

  init(_ random: inout SimulationRandom) {
    // Simulated disks are small: a map of a segment takes some hundred bytes to a few thousand.
    mapByteLimit = random.pick([0, 0, 300, 2 << 10, 16 << 10])
    cacheByteLimit = random.pick([0, 4 << 10, 16 << 10, 256 << 10])
    recordLimit = random.pick([8, 48, 48, 1 << 10])
    errorInterval =
      random.chance(0.6) ? random.pick(logarithmic: .milliseconds(20)...(.seconds(1))) : nil
    damageInterval =
      random.chance(0.6) ? random.pick(logarithmic: .milliseconds(10)...(.seconds(1))) : nil
  }
}
