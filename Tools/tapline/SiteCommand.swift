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

      A group that cannot be opened (a missing disk, a damaged journal) does not keep the others: it
      is tried again by itself, and at once by 'tapline reload'; 'tapline status' says why. The site
      does not start when that is so of all its groups, unless an NBD server is all that is missing.

      SIGTERM and SIGINT stop the site: it takes no more requests, makes everything it has
      acknowledged durable, applies its protected groups' journals, so that their backing stores
      alone are the whole, current disks, and exits with 0.
      Further signals do not shorten this. SIGHUP does what 'tapline reload' does.

      With --take-over it takes the place of the process that runs the site, which exits with 0:
      clients notice a pause and keep their connections. The running site is asked at
      listen.control of the configuration, which must be a unix socket. When the two do not fit each
      other, or anything else goes wrong, the running site goes on. When none runs, the site starts
      as usual.

      Sockets passed by systemd's protocol (LISTEN_FDS) are used for the listeners with their
      addresses, or of the kind that their names say: nbd, link or control. Then 'ready' goes to the
      log. NOTIFY_SOCKET is told when the site serves.
      """,
    options: [
      .value("config", short: "c", "FILE", required: true, help: "the site's configuration"),
      .flag("take-over", help: "go on for the running process of the same site"),
    ],
    exitCodes: [
      ExitCodeHelp(0, "stopped by a signal, or another process took over"),
      ExitCodeHelp(1, "the site could not start, or not take over"),
      ExitCodeHelp(2, "the command line or the configuration is wrong"),
    ])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let path = invocation.value(of: "config") ?? ""
    let configuration = try SiteConfiguration.load(path: path)
    let name = configuration.site
    // Before any thread exists, so that all of them inherit the mask.
    let signals = TerminationSignals()
    var sockets: ListenerSockets
    do {
      sockets = try passedSockets(for: configuration)
    } catch { throw CommandFailure(.failed, "\(name): cannot start: \(error)") }
    let isActivated = !sockets.isEmpty
    let (site, control) = try start(
      configuration, &sockets, takesOver: invocation.hasFlag("take-over"))
    if isActivated {
      // Standard output may be that of the client that started this process.
      Output.log(name, "ready")
    } else {
      Output.write("ready\n")
      Output.flush()
    }
    ServiceManager.notify("READY=1" + (site.closedSummary.map { "\nSTATUS=\($0)" } ?? ""))
    var signal = signals.wait()
    while signal == TerminationSignals.hangUp {
      // The site logs how it went.
      _ = try? site.reload()
      signal = signals.wait()
    }
    Output.log(name, "\(signal): stopping")
    ServiceManager.notify("STOPPING=1")
    signals.logFurther { Output.log(name, "\($0): stopping already") }
    control?.stop()
    site.stop()
    Output.log(name, "stopped")
    return .success
  }

  private static func passedSockets(
    for configuration: SiteConfiguration
  ) throws -> ListenerSockets {
    let activation = try SocketActivation(
      environment: ProcessInfo.processInfo.environment,
      process: ServiceManager.processIdentifier,
      firstDescriptor: ServiceManager.firstPassedDescriptor)
    for variable in SocketActivation.variables { ServiceManager.forget(variable: variable) }
    return try ListenerSockets(activation, for: configuration.listen)
  }

  // MARK: Starting

  private static func start(
    _ configuration: SiteConfiguration, _ sockets: inout ListenerSockets, takesOver: Bool
  ) throws -> (Site, ControlServer<Site>?) {
    let name = configuration.site
    let running = takesOver ? try ask(configuration) : nil
    do {
      let inheritance = try running.map { running in
        let inventory = try running.receive()
        sockets.add(inventory.listeners)
        return SiteInheritance(inventory)
      }
      let site = try Site.open(configuration, sockets: &sockets, inheritance: inheritance) {
        Output.log(name, $0)
      }
      let control = try listenForControl(configuration, &sockets)
      try running?.confirm()
      control?.logChosenAddress { Output.log(name, $0) }
      try site.serve()
      sockets.removeUnused()
      if let inheritance {
        Output.log(name, "took over, with \(inheritance.connectionCount) connections of clients")
      }
      return (site, try control.map { try serve(site, on: $0) })
    } catch {
      running?.refuse("\(error)")
      throw CommandFailure(
        .failed, "\(name): cannot \(running == nil ? "start" : "take over"): \(error)")
    }
  }

  /// Nil when no site runs that could be taken over.
  private static func ask(_ configuration: SiteConfiguration) throws -> TakeOver? {
    let name = configuration.site
    do {
      // What can be found wrong before the running site is asked to stand still.
      try Site.checkTLS(configuration)
      guard let running = try TakeOver.begin(configuration) else {
        Output.log(name, "no process runs the site; it starts as usual")
        return nil
      }
      Output.log(name, "taking over from tapline \(running.program)")
      return running
    } catch { throw CommandFailure(.failed, "\(name): cannot take over: \(error)") }
  }

  private static func listenForControl(
    _ configuration: SiteConfiguration, _ sockets: inout ListenerSockets
  ) throws -> ListeningSocket? {
    guard let address = configuration.listen.control else { return nil }
    let identity = ListenerIdentity(.control, address)
    if let socket = sockets.take(identity) { return socket }
    do throws(Errno) {
      return try .listen(at: identity, backlog: ControlLimits.backlog)
    } catch {
      throw ControlError.refused(
        "control cannot listen at \(address): \(error.asListenFailure)")
    }
  }

  private static func serve(
    _ site: Site, on listener: ListeningSocket
  ) throws -> ControlServer<Site> {
    try ControlServer(site, on: listener) {
      // Nothing may run any more that could touch what is another process's now.
      Output.flush()
      _exit(ExitCode.success.rawValue)
    }
  }
}
