import SystemIO

/// Why a backing store refused or failed. The description names the store, what was asked for,
/// the cause and the remedy.
public enum StorageError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file is not there, may not be opened, or the like.
  case cannotOpen(store: String, Errno)
  /// No connection to the NBD server, or one was lost and could not be made again in the allowed
  /// number of tries. `message` is libnbd's.
  case disconnected(Request, message: String)
  /// Another process owns the store.
  case inUse(store: String)
  case sizeDisagrees(store: String, byteCount: UInt64, expected: UInt64)
  /// The store cannot serve as one: `reason` says why and what to change.
  case unsuitable(store: String, reason: String)

  /// The file system (a sparse file grows on it) or the server's disk is full.
  case noSpace(Request)
  /// The device failed (EIO).
  case inputOutput(Request, message: String)
  /// The file system or the server's export became read-only.
  case readOnly(Request)
  /// The file became shorter than it was when it was opened.
  case endsEarly(Request)
  /// Any other error of the system or the server.
  case failed(Request, Errno, message: String)
  /// The request does not lie inside the store: a mistake of the caller.
  case outOfBounds(Request, byteCount: UInt64)
  /// The NBD connection was lost and made again; writes that were not yet synced may be gone.
  case unsyncedWritesLost(store: String)

  /// What a store was asked to do.
  public struct Request: Equatable, Sendable, CustomStringConvertible {
    public var store: String
    public var operation: Operation
    /// Bytes; 0 for operations without a range.
    public var offset: UInt64
    public var length: UInt64

    public init(_ store: String, _ operation: Operation, _ offset: UInt64, _ length: UInt64) {
      self.store = store
      self.operation = operation
      self.offset = offset
      self.length = length
    }

    public var description: String {
      operation.hasRange
        ? "\(store): \(operation) of \(length) bytes at \(offset)" : "\(store): \(operation)"
    }
  }

  public enum Operation: String, Sendable, CustomStringConvertible {
    case open, read, write, zero, sync
    case extend = "make larger"
    case findData = "search for data"

    public var description: String { rawValue }
    var hasRange: Bool { self != .open && self != .sync && self != .extend }
  }

  /// The case for an error number. `message` is the text of who reported it.
  public init(_ request: Request, _ errno: Errno, message: String? = nil) {
    let message = message ?? errno.description
    switch errno {
    case .noSpace, .quotaExceeded: self = .noSpace(request)
    case .io: self = .inputOutput(request, message: message)
    case .readOnlyFileSystem: self = .readOnly(request)
    default: self = .failed(request, errno, message: message)
    }
  }

  /// The error number that says the same to a client.
  public var errno: Errno {
    switch self {
    case .cannotOpen(_, let errno), .failed(_, let errno, _): errno
    case .inUse: .busy
    case .sizeDisagrees, .unsuitable, .outOfBounds: .invalid
    case .noSpace: .noSpace
    case .readOnly: .readOnlyFileSystem
    case .disconnected, .inputOutput, .endsEarly, .unsyncedWritesLost: .io
    }
  }

  public var description: String {
    switch self {
    case .cannotOpen(let store, .notFound):
      "\(store): does not exist: create it, or correct the configuration"
    case .cannotOpen(let store, .accessDenied):
      "\(store): permission denied: give this process's user read and write access"
    case .cannotOpen(let store, .readOnlyFileSystem):
      "\(store): lies on a read-only file system: a backing store must be writable"
    case .cannotOpen(let store, let errno):
      "\(store): cannot be opened: \(errno)"
    case .disconnected(let request, let message):
      "\(request): no connection: \(message): check that the NBD server runs and can be reached"
    case .inUse(let store):
      "\(store): in use by another process or mounted: a backing store has one user"
    case .sizeDisagrees(let store, let byteCount, let expected):
      """
      \(store): size is \(Self.size(byteCount)), configuration says \(Self.size(expected)): \
      correct the configuration, resize the store, or name the right one
      """
    case .unsuitable(let store, let reason):
      "\(store): \(reason)"
    case .noSpace(let request):
      "\(request): no space left: free or add space where the store lies, then try again"
    case .inputOutput(let request, let message):
      "\(request): \(message): check the device and the system's log"
    case .readOnly(let request):
      "\(request): read-only: make the file system or the server's export writable again"
    case .endsEarly(let request):
      "\(request): the file ends before: it was truncated while in use; restore it"
    case .failed(let request, _, let message):
      "\(request): \(message)"
    case .outOfBounds(let request, let byteCount):
      "\(request): outside of the store's \(Self.size(byteCount))"
    case .unsyncedWritesLost(let store):
      """
      \(store): the connection was lost, and writes since the last sync may be lost with it: \
      repeat them, then sync again
      """
    }
  }

  /// `20G` for exact multiples of a unit (powers of 1024, as in the configuration), else bytes.
  static func size(_ byteCount: UInt64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] as [(UInt64, String)]
    where byteCount > 0 && byteCount & (1 << shift - 1) == 0 {
      return "\(byteCount >> shift)\(unit)"
    }
    return "\(byteCount) bytes"
  }
}
