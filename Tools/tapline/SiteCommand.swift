import Appliance
import CommandOptions
import Configuration
import Control
import Foundation
import SystemIO

/// `tapline site`: runs a site in the foreground until a signal ends it.
enum SiteCommand {
  static let command = Command(
    "site", summary: "run a site in the foreground",
    discussion: """
      Recovers the journals, opens the backing stores, listens, and prints the line 'ready' on
      standard output when it serves. The log goes to standard error.

      SIGTERM and SIGINT stop the site: it takes no more requests, makes everything it has
      acknowledged durable, applies its protected groups' journals, so that their backing stores
      alone are the whole, current disks, and exits with 0.
      Further signals do not shorten this. SIGHUP does what 'tapline reload' does.
      """,
    options: [
      .value("config", short: "c", "FILE", required: true, help: "the site's configuration")
    ],
    exitCodes: [
      ExitCodeHelp(0, "stopped by a signal"),
      ExitCodeHelp(1, "the site could not start"),
      ExitCodeHelp(2, "the command line or the configuration is wrong"),
    ])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let path = invocation.value(of: "config") ?? ""
    let configuration = try SiteConfiguration.load(path: path)
    let name = configuration.site
    // Before any thread exists, so that all of them inherit the mask.
    let signals = TerminationSignals()
    let site: Site
    do {
      site = try Site.start(configuration) { Output.log(name, $0) }
    } catch {
      throw CommandFailure(.failed, "\(name): cannot start: \(error)")
    }
    var control: ControlServer<Site>?
    if let address = configuration.listen.control {
      do throws(Errno) { control = try ControlServer(site, at: address) } catch {
        site.stop()
        throw CommandFailure(
          .failed, "\(name): cannot start: control cannot listen at \(address): \(error)")
      }
    }
    Output.write("ready\n")
    Output.flush()
    var signal = signals.wait()
    while signal == TerminationSignals.hangUp {
      // The site logs how it went.
      _ = try? site.reload()
      signal = signals.wait()
    }
    Output.log(name, "\(signal): stopping")
    signals.logFurther { Output.log(name, "\($0): stopping already") }
    control?.stop()
    site.stop()
    Output.log(name, "stopped")
    return .success
  }
}
