import CommandOptions
import Control

/// `tapline status`.
enum StatusCommand {
  static let command = Command(
    "status", summary: "show a running site: health, watermarks, RPO, history, analysis",
    discussion: ControlAddress.discussion,
    options: [.flag("json", help: "print JSON, with all figures")] + ControlAddress.options)

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let status = try ControlAddress.client(invocation).status()
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(status) + "\n")
    } else {
      Output.write(StatusText.render(status))
    }
    return .success
  }
}
