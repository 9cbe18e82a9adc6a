import CommandOptions
import Configuration
import Control

/// `tapline reload`.
enum ReloadCommand {
  static let command = Command(
    "reload", summary: "have a running site read its configuration again",
    discussion: """
      The site reads the file that it was started with, and checks all of it; when anything is
      wrong, nothing is changed. Otherwise it takes over, while its clients go on, what holds for
      those that connect from then on: greater sizes of disks (a raw file is made longer; a device
      or NBD server must have the size already), access rules, and TLS credentials.

      Everything else that differs is listed, and needs a restart. SIGHUP to the site does the same,
      and the site's log has the outcome.

      \(ControlAddress.discussion)
      """,
    options: [.flag("json", help: "print JSON")] + ControlAddress.options)

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let client: ControlClient
    do { client = try ControlAddress.client(invocation) } catch var error as ConfigurationError {
      error.reason += "; nothing was changed"
      throw error
    }
    let status = try client.reload()
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(status) + "\n")
    } else {
      Output.write(ReloadText.render(status))
    }
    return .success
  }
}
