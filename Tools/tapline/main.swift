import Foundation

let code = Tapline.run(Array(CommandLine.arguments.dropFirst()))
if !Output.flush(), code == .success {
  Output.error("tapline: cannot write to standard output")
  exit(ExitCode.failed.rawValue)
}
exit(code.rawValue)
