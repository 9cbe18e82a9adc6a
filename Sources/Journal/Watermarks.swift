import BlockModel
import Synchronization

/// How far each stage of a group has come, for other threads to read: links, the view openers
/// and the status page. The group's loop is the only writer. `appended ≥ durable ≥ applied`.
///
/// How far others have come: `Follower`.
public final class Watermarks: Sendable {
  private let values: [Cell]

  private final class Cell: Sendable {
    let value = Atomic<UInt64>(0)
  }

  public enum Mark: Int, CaseIterable, Sendable {
    case appended, durable, applied
    /// Timestamps of the newest record that is appended, and durable.
    case appendedTimestamp, durableTimestamp
    /// No record at or before this timestamp will follow those appended.
    case completeThrough
    /// Where the newest appended record begins: number of its segment and position in it, 32 bits
    /// each. 0 when no segment holds it.
    case appendedPosition
  }

  public init() { values = Mark.allCases.map { _ in Cell() } }

  @inline(__always)
  public subscript(mark: Mark) -> UInt64 {
    get { values[mark.rawValue].value.load(ordering: .acquiring) }
    set { values[mark.rawValue].value.store(newValue, ordering: .releasing) }
  }

  public func sequence(_ mark: Mark) -> SequenceNumber { SequenceNumber(self[mark]) }
}
