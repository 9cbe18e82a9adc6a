import BlockModel

/// Listening sockets that whoever started this process has opened for it, and passes in the way
/// of systemd: `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`, see sd_listen_fds(3). nbdkit,
/// qemu-nbd and libnbd speak it too.
public struct SocketActivation: Equatable, Sendable {
  public struct Entry: Equatable, Sendable {
    public var descriptor: Int32
    /// `FileDescriptorName=` of a socket unit; nil when it was given none.
    public var name: String?

    public init(descriptor: Int32, name: String?) {
      self.descriptor = descriptor
      self.name = name
    }
  }

  /// The variables that say what is passed.
  public static let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]
  /// What unnamed sockets are called where all must have names.
  private static let namesOfNone: Set = ["", "unknown"]

  public let entries: [Entry]

  /// Without entries when nothing was passed, or to another process.
  public init(
    environment: [String: String], process: Int32, firstDescriptor: Int32
  ) throws(SocketActivationError) {
    guard let count = environment["LISTEN_FDS"],
      let identifier = environment["LISTEN_PID"].flatMap({ Int32($0) }), identifier == process
    else {
      entries = []
      return
    }
    guard let count = Int(count), (0...ConfigurationLimits.listeners).contains(count) else {
      throw SocketActivationError(
        "LISTEN_FDS is \(count.quotedForMessage); from 0 to \(ConfigurationLimits.listeners) "
          + "sockets can be passed")
    }
    var names = [String?](repeating: nil, count: count)
    if let text = environment["LISTEN_FDNAMES"], count > 0 {
      let given = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      guard given.count == count else {
        throw SocketActivationError(
          "LISTEN_FDNAMES names \(given.count) sockets and LISTEN_FDS says \(count)")
      }
      names = given.map { Self.namesOfNone.contains($0) ? nil : $0 }
    }
    entries = names.enumerated().map { index, name in
      Entry(descriptor: firstDescriptor + Int32(index), name: name)
    }
  }
}

/// What is wrong with the sockets that were passed: one sentence for the administrator.
public struct SocketActivationError: Error, Equatable, Sendable, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}
