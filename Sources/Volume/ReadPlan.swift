import BlockModel
import Journal
import Storage
import SystemIO

/// A range of a disk resolved into pieces, each with the place of its newest bytes: a journal
/// segment, zeros, or (nil) the base.
public struct ReadPlan: Sendable {
  public struct Piece: Equatable, Sendable {
    public var length: UInt64
    public var source: ExtentSource?
  }

  public let start: UInt64
  public private(set) var pieces: [Piece] = []

  /// - Parameter lookUp: gives the piece at an offset, at most as long as the limit.
  public init(
    _ range: ByteRange,
    lookUp: (_ offset: UInt64, _ limit: UInt64) -> (length: UInt64, source: ExtentSource?)
  ) {
    start = range.start
    var offset = range.start
    while offset < range.end {
      let (length, source) = lookUp(offset, range.end - offset)
      Self.check(length, limit: range.end - offset)
      pieces.append(Piece(length: length, source: source))
      offset += length
    }
  }

  /// The index could not tell everything without waiting: see `resolve`.
  public var isUnresolved: Bool { pieces.contains { $0.source == .unresolved } }

  /// Asks again for what could not be told.
  ///
  /// - Parameter lookUp: as of the initializer, but it always knows.
  public mutating func resolve(
    _ lookUp: (_ offset: UInt64, _ limit: UInt64) throws(VolumeError) -> (
      length: UInt64, source: ExtentSource?
    )
  ) throws(VolumeError) {
    var resolved: [Piece] = []
    var offset = start
    for piece in pieces {
      let end = offset + piece.length
      if piece.source != .unresolved {
        resolved.append(piece)
        offset = end
      }
      while offset < end {
        let (length, source) = try lookUp(offset, end - offset)
        Self.check(length, limit: end - offset)
        precondition(source != .unresolved, "who waits is told")
        resolved.append(Piece(length: length, source: source))
        offset += length
      }
    }
    pieces = resolved
  }

  /// A longer piece would read what was not asked for, and an empty one would never end.
  private static func check(_ length: UInt64, limit: UInt64) {
    precondition(length > 0 && length <= limit, "a piece of \(length) of \(limit) bytes")
  }

  /// The journal segments that the plan reads, each once, in ascending order.
  public var segments: [UInt32] {
    let numbers = pieces.compactMap { piece in
      piece.source.flatMap { $0.isZeros || $0 == .unresolved ? nil : $0.segment }
    }
    return Array(Set(numbers)).sorted()
  }
}

public enum VolumeError: Error, Sendable, CustomStringConvertible {
  case base(StorageError)
  case journal(Errno, segment: UInt32)
  /// What a segment holds cannot be told.
  case index(JournalError)
  /// A segment that an index names is gone: our own mistake, reported instead of wrong data.
  case segmentMissing(UInt32)
  case scratch(Errno)
  case scratchFull(byteLimit: UInt64)
  /// What apply overwrote could not be saved for the view at this instant.
  case viewLost(Timestamp)
  /// The file of a branch says that something could not be saved, or is another's.
  case savedLost

  public var description: String {
    switch self {
    case .base(let error): "\(error)"
    case .journal(let errno, let segment): "reading journal segment \(segment): \(errno)"
    case .index(let error): "\(error)"
    case .segmentMissing(let segment): "journal segment \(segment) is not there"
    case .scratch(let errno): "saving what apply overwrites: \(errno)"
    case .scratchFull(let byteLimit): "more than \(ByteCount.format(byteLimit)) had to be saved"
    case .viewLost(let instant): "the view at \(instant) is closed"
    case .savedLost: "what had to be saved for the branch could not be"
    }
  }
}

/// Reads the bytes that an index names, from the journal and from the base. Any thread.
public struct VolumeReader<File: JournalFile, Store: BackingStore>: Sendable {
  public let store: Store
  public let catalog: SegmentCatalog<File>?

  /// - Parameter catalog: nil for a disk without a journal.
  public init(store: Store, catalog: SegmentCatalog<File>?) {
    self.store = store
    self.catalog = catalog
  }

  /// Fills `buffer` with one piece if its bytes are in memory; false, with `buffer` undefined,
  /// when the disk must be waited for. Does not block.
  @inline(__always)
  public func readIfCached(
    _ source: ExtentSource?, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws(VolumeError) -> Bool {
    guard let source else {
      do throws(StorageError) {
        return try unsafe store.readIfCached(into: buffer, at: offset)
      } catch { throw .base(error) }
    }
    if source.isZeros {
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      return true
    }
    if source == .unresolved { return false }
    let segment = try segment(source)
    do throws(Errno) {
      return try unsafe segment.file.readIfCached(into: buffer, at: UInt64(source.position))
    } catch { throw .journal(error, segment: source.segment) }
  }

  /// As `readIfCached`, but waits for the disk.
  public func read(
    _ source: ExtentSource?, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws(VolumeError) {
    guard let source else {
      do throws(StorageError) { try unsafe store.read(into: buffer, at: offset) } catch {
        throw .base(error)
      }
      return
    }
    if source.isZeros {
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      return
    }
    let segment = try segment(source)
    let count: Int
    do throws(Errno) {
      count = try unsafe segment.file.read(into: buffer, at: UInt64(source.position))
    } catch { throw .journal(error, segment: source.segment) }
    if count < buffer.count { throw .journal(.io, segment: source.segment) }
  }

  @inline(__always)
  private func segment(_ source: ExtentSource) throws(VolumeError) -> Segment<File> {
    guard let segment = catalog?.segment(source.segment) else {
      throw .segmentMissing(source.segment)
    }
    return segment
  }
}
