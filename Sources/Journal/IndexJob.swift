import BlockModel
import Synchronization
import SystemIO

/// A piece of work on the index, for a thread that may take its time: it flattens a generation, or
/// merges several, in memory where there is room and else into a file.
public struct IndexJob: Sendable {
  enum Kind: Sendable {
    case flatten
    case merge(level: Int, block: UInt32)
  }

  let life: UInt64
  let kind: Kind
  let inputs: [Generation]
  let memory: IndexMemory
  /// What a file keeps of them, for when it cannot be read.
  let fallback: [Generation]
  /// Of the result; nil: it goes to a file.
  var share: IndexMemory.Share?
  /// Makes a file without a name, which ends with its last user.
  var makeScratch: (@Sendable () throws(Errno) -> any JournalFile)?
  var pageByteCount = 4096

  init(
    life: UInt64, kind: Kind, inputs: [Generation], memory: IndexMemory,
    share: IndexMemory.Share? = nil, fallback: [Generation] = []
  ) {
    self.fallback = fallback
    self.life = life
    self.kind = kind
    self.inputs = inputs
    self.memory = memory
    self.share = share
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
  public func run(until stop: Stop = Stop()) throws(JournalError) -> Generation? {
    guard case .merge = kind else { return inputs[0].flattened(sharing: memory) }
    // All there is of the block; what is in a file already takes nothing.
    if inputs.count == 1, share != nil || !inputs[0].isInMemory { return inputs[0] }
    if let share { return try .merging(inputs, share) }
    guard let makeScratch else { return try .merging(inputs) }
    let file: any JournalFile
    do throws(Errno) { file = try makeScratch() } catch {
      throw .storage(error, doing: "creating an index file")
    }
    return try filed(in: file, until: stop)
  }

  /// What is written at once.
  private static var batchByteCount: Int { 64 << 10 }

  private func filed(
    in file: any JournalFile, until stop: Stop
  ) throws(JournalError) -> Generation? {
    var writer = IndexTreeWriter(
      pageByteCount: pageByteCount, offset: 0,
      seed: UInt32(truncatingIfNeeded: memory.cache.newFile()))
    var position: UInt64 = 0
    for disk in 0..<inputs[0].diskCount {
      #if MUTANTS
        let inputs = Mutant.mergeOutOfOrder.isOn ? inputs.reversed() : inputs
      #endif
      var merge = try ExtentMerge(inputs, disk: DiskNumber(UInt16(disk)))
      while let extent = try merge.next() {
        writer.append(extent)
        if writer.done.count >= Self.batchByteCount {
          if stop.isSet { return nil }
          try Self.write(writer.takeDone(), to: file, at: &position)
        }
      }
      writer.endDisk()
    }
    try Self.write(writer.takeDone(), to: file, at: &position)
    let newest = inputs[inputs.count - 1]
    return Generation(
      span: RecordSpan(joining: inputs), checkpoints: [], segment: newest.segment,
      filed: FiledIndex(
        writer.layout, in: ScratchIndex(file: file), else: .parts(fallback), cache: memory.cache))
  }

  private static func write(
    _ bytes: [UInt8], to file: any JournalFile, at position: inout UInt64
  ) throws(JournalError) {
    let offset = position
    let result = unsafe bytes.withUnsafeBytes { buffer -> Result<Void, Errno> in
      do throws(Errno) { return .success(try unsafe file.write(buffer, at: offset)) } catch {
        return .failure(error)
      }
    }
    do throws(Errno) { try result.get() } catch {
      throw .storage(error, doing: "writing an index file")
    }
    position += UInt64(bytes.count)
  }
}

/// A file without a name.
struct ScratchIndex: IndexFileSource {
  let file: any JournalFile

  func open() throws(Errno) -> any JournalFile { file }
}
