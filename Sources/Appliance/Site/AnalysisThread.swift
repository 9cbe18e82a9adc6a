import Analyzer
import BlockModel
import Journal
import Synchronization
import SystemIO

/// The third copy's consumer: looks at what the groups' taps observed, a few times a second, in
/// the background. When it cannot keep up, the queues skip and count; no loop notices.
final class AnalysisThread: Sendable {
  private static let periodMilliseconds: UInt64 = 50
  /// Payload bytes read for samples, each group and period: 20 MiB/s.
  private static let budgetBytes = 1 << 20
  /// Memory that tells of overwrites, all disks of the site together: each has an equal share.
  private static let writtenBytes = 32 << 20

  private let hosts: [GroupHost]
  private let isStopping = Atomic<Bool>(false)
  private let thread = Mutex<Thread?>(nil)

  init(_ hosts: [GroupHost]) { self.hosts = hosts }

  func start() {
    let thread = Thread(name: "analyzer", priority: .idle) { [self] in
      while !isStopping.load(ordering: .acquiring) {
        let now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
        let groups = hosts.compactMap(\.group)
        let disks = groups.reduce(0) { $0 + ($1.analyzer?.diskCount ?? 0) }
        for group in groups {
          guard let analyzer = group.analyzer, let journal = group.journal else { continue }
          var reader = JournalPayloads(catalog: journal.catalog)
          analyzer.run(
            once: now, reader: &reader, budgetBytes: Self.budgetBytes,
            writtenBytesLimit: Self.writtenBytes / max(disks, 1))
        }
        Thread.sleep(milliseconds: Self.periodMilliseconds)
      }
    }
    self.thread.withLock { $0 = thread }
  }

  func stop() {
    isStopping.store(true, ordering: .releasing)
    thread.withLock { $0 }?.join()
  }
}

/// Reads sampled payloads from the page cache; never waits for the disk.
private struct JournalPayloads: PayloadReader {
  let catalog: SegmentCatalog<File>

  mutating func read(
    _ source: ExtentSource, length: Int, into buffer: UnsafeMutableRawBufferPointer
  ) -> Bool {
    guard let segment = catalog.segment(source.segment) else { return false }
    let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<length])
    return (try? unsafe segment.file.readIfCached(into: target, at: UInt64(source.position)))
      ?? false
  }
}
