/// The side of a hand-over that takes, as a value: messages go in, and what they brought is in
/// `inventory`. It does no I/O. `Socket` and `File` are whatever stands for what came along.
public struct HandoverTaker<Socket: Sendable, File: Sendable>: Sendable {
  /// What the old process let go of.
  public struct Inventory: Sendable {
    public var listeners: [(listener: HandoverListener, socket: Socket)] = []
    public var files: [(path: String, file: File)] = []
    public var groups: [HandoverGroup] = []
    public var connections: [(state: ConnectionState, socket: Socket)] = []

    var counts: HandoverCounts {
      HandoverCounts(
        listeners: listeners.count, files: files.count, groups: groups.count,
        connections: connections.count)
    }
  }

  public enum Attachment: Sendable {
    case none
    case socket(Socket)
    case file(File)
  }

  public enum State: Equatable, Sendable {
    case receiving
    /// Everything is here; the journals are being opened.
    case complete
    /// The old process was told that this one could go on.
    case confirmed
    /// The site is this process's.
    case owner
  }

  public private(set) var state = State.receiving
  public private(set) var inventory = Inventory()

  public init() {}

  /// Takes the next message. Throws when this process must not go on: nothing is its own then.
  public mutating func receive(
    _ message: HandoverMessage, _ attachment: Attachment
  ) throws(HandoverError) {
    if case .refused(let reason) = message { throw .refused(reason) }
    switch (state, message, attachment) {
    case (.receiving, .listener(let listener), .socket(let socket)):
      guard inventory.listeners.count < HandoverLimits.connections else { throw Self.tooMany }
      inventory.listeners.append((listener, socket))
    case (.receiving, .file(let path), .file(let file)):
      guard inventory.files.count < HandoverLimits.files else { throw Self.tooMany }
      inventory.files.append((path, file))
    case (.receiving, .group(let group), .none):
      guard inventory.groups.count < HandoverLimits.files else { throw Self.tooMany }
      inventory.groups.append(group)
    case (.receiving, .connection(let connection), .socket(let socket)):
      guard inventory.connections.count < HandoverLimits.connections else { throw Self.tooMany }
      inventory.connections.append((connection, socket))
    case (.receiving, .complete(let counts), .none):
      guard counts == inventory.counts else {
        throw .protocolViolation("it sent \(inventory.counts), and says that it sent \(counts)")
      }
      state = .complete
    case (.confirmed, .yours, .none):
      state = .owner
    default:
      throw .protocolViolation("a message that does not belong here")
    }
  }

  /// The journals are open, and `confirmed` is about to be sent.
  public mutating func confirm() {
    precondition(state == .complete, "a hand-over is confirmed once, when it is complete")
    state = .confirmed
  }

  private static var tooMany: HandoverError { .protocolViolation("more than a site can have") }
}
