import Journal
import Synchronization
import SystemIO

/// The group's state file and its contents in memory. Any thread reads; changes are made one after
/// the other, on the group's keeper thread, on a worker that notes which segments are void or what
/// is promised or, when a disk grows, on the thread that reloads.
final class StateKeeper: Sendable {
  private let file: JournalStateFile<File>
  private let content: Mutex<(state: JournalState, generation: UInt64)>
  /// Of whoever makes a change; `content` is free meanwhile.
  private let turn = Turn()

  init(_ file: JournalStateFile<File>, state: JournalState, generation: UInt64) {
    self.file = file
    content = Mutex((state, generation))
  }

  var state: JournalState { content.withLock { $0.state } }

  /// Durable when it returns. Blocks. After an error the file holds the old or the new state, and
  /// memory the old.
  func update(_ change: (inout JournalState) -> Void) throws(Errno) {
    try turn.take { () throws(Errno) in
      var (state, generation) = content.withLock { $0 }
      change(&state)
      generation += 1
      try file.write(state, generation: generation)
      content.withLock { $0 = (state, generation) }
    }
  }
}
