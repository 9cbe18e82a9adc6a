import CommandOptions
import Configuration
import Control
import Foundation
import SystemIO

/// The options that say which site a command talks to.
enum ControlAddress {
  static let options: [CommandOption] = [
    .value("config", short: "c", "FILE", help: "talk to the site with this configuration"),
    .value(
      "control", "ADDRESS", help: "talk to the site at this address: unix:PATH or tcp:HOST:PORT"),
  ]

  static let discussion = """
    Without --config and --control the address is taken from the environment variable \
    \(ControlClient.addressVariable), or else it is \(ControlClient.defaultAddress).
    """

  /// A client for the site that the options name.
  static func client(_ invocation: Invocation) throws -> ControlClient {
    let text = invocation.value(of: "control")
    let file = invocation.value(of: "config")
    if text != nil, file != nil {
      throw CommandFailure(.usage, "--config and --control name the site twice; give one of them")
    }
    if let file {
      let configuration = try SiteConfiguration.load(path: file)
      guard let address = configuration.listen.control else {
        throw CommandFailure(.usage, "\(file): there is no listen.control to connect to")
      }
      return ControlClient(address)
    }
    if let text { return ControlClient(try parse(text, from: "--control")) }
    let variable = ControlClient.addressVariable
    if let text = ProcessInfo.processInfo.environment[variable], !text.isEmpty {
      return ControlClient(try parse(text, from: variable))
    }
    return ControlClient(ControlClient.defaultAddress)
  }

  private static func parse(_ text: String, from source: String) throws -> SocketAddress {
    do { return try SocketAddress(parsing: text) } catch {
      throw CommandFailure(.usage, "\(source): \(error)")
    }
  }
}
