import Foundation

/// A site: a `tapline site` of its own with a configuration file, sockets and data in a scratch
/// directory. It can be killed and started again on the same data.
public final class Site {
  public let scratch: ScratchDirectory
  /// Takes effect at the next start; `reload` takes part of it into effect.
  public var configuration: SiteConfiguration
  public let socket: String
  public let linkPort: UInt16
  /// Words in front of the daemon's own, such as those of `prlimit`.
  public var launcher: [String] = []
  /// Additions to the environment of the daemon; take effect at the next start.
  public var environment: [String: String] = [:]
  /// What its data and disks are on, when it is one whose power can be cut.
  public private(set) var volume: LossyVolume?
  private var daemon: ChildProcess?
  private var starts = 0

  public var name: String { configuration.site }

  /// A site without groups, not yet started.
  public init(_ name: String, in scratch: ScratchDirectory) throws {
    self.scratch = scratch
    socket = try scratch.socket("\(name).sock")
    linkPort = try unusedPort()
    configuration = SiteConfiguration(
      site: name, data: try scratch.subdirectory("\(name)-data"), nbd: ["unix:\(socket)"],
      link: "tcp:127.0.0.1:\(linkPort)", control: "unix:\(try scratch.socket("\(name).ctl"))")
  }

  /// Adds a disk with an empty sparse file as its backing store to the named group, which it adds
  /// first when there is none.
  public func addDisk(
    _ disk: String, size: Int, group: String = "g", role: SiteConfiguration.Group.Role
  ) throws {
    let file = try scratch.sparseFile("\(name)-\(disk).raw", size: size)
    addDisk(disk, size: size, backing: "file:\(file)", group: group, role: role)
  }

  public func addDisk(
    _ disk: String, size: Int, backing: String, group: String = "g",
    role: SiteConfiguration.Group.Role
  ) {
    let disk = SiteConfiguration.Disk(name: disk, size: size, backing: backing)
    if let index = configuration.groups.firstIndex(where: { $0.name == group }) {
      configuration.groups[index].disks.append(disk)
    } else {
      configuration.groups.append(.init(name: group, role: role, disks: [disk]))
    }
  }

  /// The file behind a disk that `addDisk(_:size:group:role:)` made.
  public func rawFile(_ disk: String) -> String { scratch.file("\(name)-\(disk).raw") }

  public var configurationFile: String { scratch.file("\(name).yaml") }

  /// Writes the configuration file, starts the daemon and waits until it serves.
  /// - Parameter takingOver: with the option to take another daemon's place, though none runs.
  public func start(within limit: Duration = hangLimit, takingOver: Bool = false) throws {
    let daemon = try launch(takingOver: takingOver)
    try daemon.waitForLine(TaplineContract.readyLine, within: limit)
  }

  /// Like `start`, but does not wait: for configurations that are refused.
  @discardableResult
  public func launch(takingOver: Bool = false) throws -> ChildProcess {
    guard daemon?.isRunning != true else { throw RigError("site \(name) runs already") }
    if let volume, volume.isCut { try volume.restore() }
    let started = try launch(with: takingOver ? [TaplineContract.takeOver] : [])
    daemon = started
    return started
  }

  private func launch(with options: [String]) throws -> ChildProcess {
    try writeConfiguration()
    starts += 1
    let words =
      launcher + [try TaplineBinary.path()] + TaplineContract.site(configurationFile) + options
    return try ChildProcess(
      words[0], Array(words.dropFirst()), name: "\(name)-\(starts)", logs: scratch,
      environment: environment)
  }

  /// Starts another daemon, with the configuration as it is now, that takes the place of the one
  /// that runs, which need not be this value's, and waits until it serves and the old one has
  /// ended.
  /// - Throws: `RigError` also when the old one ends with another code than 0.
  public func takeOver(within limit: Duration = hangLimit) throws {
    let next = try launch(with: [TaplineContract.takeOver])
    try next.waitForLine(TaplineContract.readyLine, within: limit)
    let end = try daemon?.wait(within: limit) ?? .exited(0)
    daemon = next
    guard end == .exited(0) else { throw RigError("the old site \(name) ended with \(end)") }
  }

  /// Starts another daemon that takes the place of the one that runs, and kills one of the two
  /// `delay` after the new one has asked. Waits until it is clear which of them has the site, if
  /// any has: then `isRunning`.
  public func takeOver(
    killing victim: TakeOverVictim, after delay: Duration, within limit: Duration = hangLimit
  ) throws {
    guard let old = daemon else { throw RigError("site \(name) was not started") }
    let next = try launch(with: [TaplineContract.takeOver])
    try eventually("the new site \(name) asks", within: limit) {
      !next.isRunning || next.stderr.contains("taking over")
    }
    Thread.sleep(forTimeInterval: delay.inSeconds)
    let killed = victim == .old ? old : next
    killed.kill(SIGKILL)
    try killed.wait(within: limit)
    try eventually("the site \(name) has one owner, or none", within: limit) {
      let serves = next.stdout.contains(TaplineContract.readyLine)
      return !next.isRunning || (serves && !old.isRunning)
    }
    // When the new one has ended, the old one has decided already, or does so at once.
    if !next.isRunning { try eventually("the old one is at rest") { !old.isRunning || isServing } }
    daemon = next.isRunning ? next : old
  }

  private var isServing: Bool {
    (try? status())?.first("site")?.string == name
  }

  /// Starts another daemon that is refused the place of the one that runs, which goes on.
  public func failToTakeOver(within limit: Duration = hangLimit) throws -> Finished {
    let next = try launch(with: [TaplineContract.takeOver])
    let end = try next.wait(within: limit)
    guard case .exited(let status) = end else {
      throw RigError("the new site \(name) ended with \(end)")
    }
    return Finished(
      command: "tapline site \(TaplineContract.takeOver)", status: status, stdout: next.stdout,
      stderr: next.stderr)
  }

  public func writeConfiguration() throws {
    try configuration.yaml.write(
      toFile: configurationFile, atomically: false, encoding: .utf8)
  }

  /// Writes the configuration file and has the daemon read it again.
  public func reload() throws -> Finished {
    try writeConfiguration()
    return try tapline(TaplineContract.reload(site: configuration))
  }

  /// Gives the disk's entry in the configuration another size.
  public func setSize(_ byteCount: Int, of disk: String = "disk") {
    for group in configuration.groups.indices {
      for index in configuration.groups[group].disks.indices
      where configuration.groups[group].disks[index].name == disk {
        configuration.groups[group].disks[index].size = byteCount
      }
    }
  }

  /// Makes the disk larger while the daemon runs.
  public func grow(_ disk: String = "disk", to byteCount: Int) throws {
    setSize(byteCount, of: disk)
    try reload().checked()
  }

  /// Sends the daemon a signal.
  public func signal(_ signal: Int32) { daemon?.kill(signal) }

  /// What the daemon that was started last has logged.
  public var log: String { daemon?.stderr ?? "" }

  /// Of the daemon that was started last.
  public var processIdentifier: pid_t? { daemon?.pid }

  /// What all daemons have logged.
  public var allLogs: String {
    let files = (1...max(1, starts)).map { scratch.file("\(name)-\($0).err") }
    return files.compactMap { try? String(contentsOfFile: $0, encoding: .utf8) }.joined()
  }

  public var isRunning: Bool { daemon?.isRunning == true }

  /// Ends the daemon as a crash of the process does.
  public func crash() throws {
    guard let daemon else { throw RigError("site \(name) was not started") }
    daemon.kill(SIGKILL)
    try daemon.wait()
  }

  /// Moves its data and its disks, empty, to a volume whose power can be cut. Before the start.
  /// - Parameter sparseDisks: whether their blocks have yet to be allocated.
  public func move(to volume: LossyVolume, sparseDisks: Bool = true) throws {
    self.volume = volume
    configuration.data = "\(volume.path)/data"
    for group in configuration.groups.indices {
      for (index, disk) in configuration.groups[group].disks.enumerated() {
        let file = try volume.file(
          "\(disk.name).raw", size: disk.size, isSparse: sparseDisks)
        configuration.groups[group].disks[index].backing = "file:\(file)"
      }
    }
  }

  /// Cuts the power of the machine: the daemon ends, and of what it wrote, the volume keeps only
  /// what was made durable. The power is back at the next start.
  public func cutPower() throws {
    guard let daemon, let volume else { throw RigError("site \(name) has no power to cut") }
    // Stopped first, so that little of it sees the disk fail, which no machine without power does.
    daemon.kill(SIGSTOP)
    try volume.cut()
    try crash()
  }

  /// Asks the daemon to stop, and waits until it has.
  /// - Throws: `RigError` when it ends with another code than 0, or not at all.
  public func stop(within limit: Duration = hangLimit) throws {
    guard let daemon else { throw RigError("site \(name) was not started") }
    let end = try daemon.terminate(within: limit)
    guard end == .exited(0) else {
      throw RigError("site \(name) ended with \(end)\n\(daemon.stderr.suffix(4000))")
    }
  }

  /// The NBD URI of an export; `disk@instant` for a view.
  public func uri(_ export: String) -> String {
    let name = export.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? export
    return "nbd+unix:///\(name)?socket=\(socket)"
  }

  public func connect(_ export: String) throws -> NBDClient { try NBDClient(uri(export)) }

  /// What the server says to a client that may not have the export, or not one of the contexts; not
  /// every tool passes that on. Nil: it may.
  public func refusal(of export: String, contexts: [String] = []) throws -> String? {
    do {
      _ = try RawSession(socket, export, .structured, contexts: contexts)
      return nil
    } catch let error as RigError { return error.description }
  }

  /// The contents of an export.
  public func image(_ export: String) throws -> [UInt8] {
    let client = try connect(export)
    var image: [UInt8] = []
    let size = Int(client.size)
    image.reserveCapacity(size)
    while image.count < size {
      image += try client.read(at: UInt64(image.count), count: min(4 << 20, size - image.count))
    }
    return image
  }

  /// Runs a `tapline` command against this site.
  public func tapline(_ arguments: [String], within limit: Duration = hangLimit) throws
    -> Finished
  {
    try run(try TaplineBinary.path(), arguments, within: limit)
  }

  public func checkpoint(_ tag: String, group: String = "g") throws -> Finished {
    try tapline(TaplineContract.checkpoint(group: group, tag: tag, site: configuration))
  }

  public func status() throws -> JSON {
    try JSON(try tapline(TaplineContract.status(site: configuration)).checked().stdout)
  }

  /// A number of a group in `status`, under the name that `design` and documentation give it.
  public func counter(_ name: String, group: String = "g") throws -> Int {
    try TaplineContract.counter(name, group: group, status: status())
  }
}

/// Which of two daemons of one site is killed.
public enum TakeOverVictim: CaseIterable, Sendable { case old, new }

/// The binary under test.
public enum TaplineBinary {
  /// `TAPLINE_BIN` or `TAPLINE_BINARY` when set, else the `tapline` built beside the test bundle.
  /// - Throws: `RigError` when there is none; a test of the product cannot be skipped.
  public static func path() throws -> String {
    let environment = ProcessInfo.processInfo.environment
    if let path = environment["TAPLINE_BIN"] ?? environment["TAPLINE_BINARY"] {
      guard Tool.find(path) != nil else { throw RigError("no program \(path) (TAPLINE_BIN)") }
      return path
    }
    guard let found = beside.first(where: { Tool.find($0) != nil }) else {
      throw RigError(
        "no tapline binary (looked for \(beside.joined(separator: ", "))); "
          + "build it with 'swift build' or name it in TAPLINE_BIN")
    }
    return found
  }

  /// Code that was not optimised asks for memory where optimised code does not.
  public static var isOptimized: Bool { ((try? path()) ?? "/debug/").contains("/debug/") == false }

  private static let beside: [String] = {
    // The bundle is an argument of the process that runs tests, and the process itself for XCTest.
    let bundle = CommandLine.arguments.first { $0.contains(".xctest") }
    let directory = bundle.map { ($0 as NSString).deletingLastPathComponent }
    let fallback = ["debug", "release"].map { "\(projectRoot)/.build/\($0)" }
    return ([directory].compactMap { $0 } + fallback).map { "\($0)/tapline" }
  }()
}
