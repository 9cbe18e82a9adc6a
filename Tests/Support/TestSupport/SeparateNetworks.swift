import Foundation

/// Two network name spaces with a cable between them, each for a site: what one of them says when
/// the cable is pulled goes nowhere, and neither is told. Needs root. They end with this value.
public final class SeparateNetworks {
  public let addresses = ["10.211.0.1", "10.211.0.2"]
  private let holders: [ChildProcess]

  /// Why there are none; nil when there can be.
  public static var refusal: String? {
    if geteuid() != 0 { return "network name spaces need root" }
    let missing = Tool.missing(["ip", "nsenter", "unshare"])
    if !missing.isEmpty { return "not on this machine: \(missing.joined(separator: ", "))" }
    let probe = try? TestSupport.run("unshare", ["--net", "ip", "link", "set", "lo", "up"])
    return probe?.status == 0 ? nil : "network name spaces are not allowed here"
  }

  public init() throws {
    holders = try (0..<2).map { _ in try ChildProcess("unshare", ["--net", "sleep", "infinity"]) }
    for number in holders.indices {
      try eventually("a network of its own") {
        let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/net")
        let its = try? FileManager.default.destinationOfSymbolicLink(atPath: path(number))
        return its != nil && its != own
      }
    }
    try run(0, ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "far"])
    try run(0, ["ip", "link", "set", "far", "netns", "\(holders[1].pid)", "name", "cable"])
    for number in holders.indices {
      try run(number, ["ip", "address", "add", "\(addresses[number])/24", "dev", "cable"])
      for device in ["lo", "cable"] { try run(number, ["ip", "link", "set", device, "up"]) }
    }
  }

  /// Words in front of a program that is to run in one of them.
  public func launcher(_ number: Int) -> [String] { ["nsenter", "--net=\(path(number))"] }

  public func pullCable() throws { try run(0, ["ip", "link", "set", "cable", "down"]) }
  public func plugCable() throws { try run(0, ["ip", "link", "set", "cable", "up"]) }

  private func path(_ number: Int) -> String { "/proc/\(holders[number].pid)/ns/net" }

  private func run(_ number: Int, _ words: [String]) throws {
    let all = launcher(number) + words
    try TestSupport.run(all[0], Array(all.dropFirst())).checked()
  }
}
