import Foundation

extension Site {
  /// The daemon's memory that is in the machine's (`VmRSS`), in KiB. Skips the test where a
  /// sanitizer's own memory would be measured.
  public func residentKibibytes() throws -> Int {
    if ProcessInfo.processInfo.environment["TAPLINE_SANITIZER"] != nil {
      try skipTest("the daemon is a build with a sanitizer, which takes memory of its own")
    }
    let line = try procFile("status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    guard let figure = line?.split(separator: " ").dropFirst().first, let kibibytes = Int(figure)
    else { throw RigError("no VmRSS of site \(name)") }
    return kibibytes
  }

  /// The bytes that the daemon has had written to disks.
  public func writtenBytes() throws -> Int {
    let line = try procFile("io").split(separator: "\n").first { $0.hasPrefix("write_bytes:") }
    guard let figure = line?.split(separator: " ").last, let bytes = Int(figure) else {
      throw RigError("no write_bytes of site \(name)")
    }
    return bytes
  }

  /// How many sockets the daemon has open, and how many other descriptors but for the files of its
  /// journals, of which it makes some ahead.
  public func descriptorCounts() throws -> (sockets: Int, others: Int) {
    let folder = try procPath("fd")
    var counts = (sockets: 0, others: 0)
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      // One that was closed since then has no target.
      guard
        let target = try? FileManager.default.destinationOfSymbolicLink(
          atPath: "\(folder)/\(name)")
      else { continue }
      if target.hasPrefix("socket:") {
        counts.sockets += 1
      } else if !target.contains("/segment-") {
        counts.others += 1
      }
    }
    return counts
  }

  /// The daemon's soft limit of open files.
  public func openFileLimit() throws -> Int {
    let line = try procFile("limits").split(separator: "\n").first {
      $0.hasPrefix("Max open files")
    }
    guard let figure = line?.split(separator: " ").dropFirst(3).first, let limit = Int(figure)
    else { throw RigError("no limit of open files of site \(name)") }
    return limit
  }

  /// The name of one of the daemon's threads; nil when it has ended.
  public func threadName(_ thread: Int) throws -> String? {
    (try? procFile("task/\(thread)/comm"))?.trimmingCharacters(in: .newlines)
  }

  /// How often each of the daemon's threads whose names begin so has slept, by name.
  public func sleeps(ofThreads prefix: String) throws -> [String: Int] {
    var counts: [String: Int] = [:]
    for thread in try FileManager.default.contentsOfDirectory(atPath: try procPath("task")) {
      // One that has ended since then has no files.
      guard let name = try Int(thread).flatMap(threadName), name.hasPrefix(prefix),
        let status = try? procFile("task/\(thread)/status"),
        let line = status.split(separator: "\n").first(where: {
          $0.hasPrefix("voluntary_ctxt_switches:")
        }), let figure = line.split(separator: "\t").last
      else { continue }
      counts[name] = Int(figure)
    }
    return counts
  }

  private func procFile(_ name: String) throws -> String {
    try String(contentsOfFile: try procPath(name), encoding: .utf8)
  }

  private func procPath(_ name: String) throws -> String {
    guard let pid = processIdentifier else { throw RigError("site \(self.name) was not started") }
    return "/proc/\(pid)/\(name)"
  }
}
