import BlockModel
import Synchronization

/// A piece of work on the index, for a thread that may take its time: puts a closed generation
/// where there is room for it, or merges several.
public struct IndexJob: Sendable {
  enum Kind: Sendable {
    case place
    case merge(level: Int, block: UInt32)
  }

  let life: UInt64
  let kind: Kind
  let inputs: [Generation]
  let shelf: IndexShelf
  /// What a file keeps of them, for when it cannot be read.
  var fallback: [Generation] = []
  /// Of the result; nil: it goes to a file.
  var share: IndexMemory.Share?

  public struct Result: Sendable {
    let generation: Generation
    /// Why it is in memory although there is no room for it.
    public let failure: JournalError?
  }

  /// Some of it is on the disks, so its files may be gone.
  public func isOutdated(applied: SequenceNumber) -> Bool {
    inputs[0].span.firstSequence <= applied
  }

  /// Told to a job under way by anybody, once it is not wanted any more.
  public final class Stop: Sendable {
    private let flag = Atomic<Bool>(false)
    public init() {}
    public func set() { flag.store(true, ordering: .relaxed) }
    var isSet: Bool { flag.load(ordering: .relaxed) }
  }

  /// Takes time in proportion to the number of extents. Blocks. A failure means only that the parts
  /// serve on. Nil: it was stopped.
  public func run(until stop: Stop = Stop()) throws(JournalError) -> Result? {
    if case .place = kind {
      let placed = shelf.place(inputs[0], share)
      return Result(generation: placed.generation, failure: placed.failure)
    }
    guard let merged = try merged(until: stop) else { return nil }
    return Result(generation: merged, failure: nil)
  }

  private func merged(until stop: Stop) throws(JournalError) -> Generation? {
    // All there is of the block; what is in a file already takes nothing.
    if inputs.count == 1, share != nil || !inputs[0].isInMemory { return inputs[0] }
    if let share { return try .merging(inputs, share) }
    guard let index = try shelf.file(inputs, else: .parts(fallback), until: stop) else {
      return nil
    }
    return Generation(
      span: RecordSpan(joining: inputs), checkpoints: [], segment: inputs[inputs.count - 1].segment,
      filed: index)
  }
}
