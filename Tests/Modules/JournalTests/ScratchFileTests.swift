import Journal
import Synchronization
import SystemIO
import TestSupport
import Testing

/// Proves that files without a name can be made by several threads of a group at once, and that one
/// whose name a crash left is no hindrance.
@Suite(.scratch) struct ScratchFileTests {
  private final class Count: Sendable {
    let value = Atomic<Int>(0)
  }

  @Test func `is made by many threads at once`() throws {
    let folder = try ScratchDirectory()
    let storage = try FolderStorage(path: folder.file("group"))
    _ = try File(creating: "\(storage.path)/index.scratch")
    let pool = WorkerPool(name: "scratch", threadLimit: 4)
    let made = Count()
    for _ in 0..<2000 {
      pool.submit {
        guard let file = try? storage.scratch() else { return }
        withExtendedLifetime(file) { _ = made.value.add(1, ordering: .relaxed) }
      }
    }
    pool.finish()
    #expect(made.value.load(ordering: .relaxed) == 2000)
    #expect(try storage.names().isEmpty)
  }
}
