import BlockModel
import Journal
import Replication
import SystemIO
import TLS
import TestSupport
import Testing

@testable import Appliance
@testable import Journal

/// Proves what a group sees to around its index: who looks up keeps nobody from writing, and what
/// works on the index is out of the way when the journal starts over.
@Suite(.scratch) struct GroupIndexingTests {
  /// Records of one write each, every one in a segment of its own.
  private func write(_ count: Int, _ journal: SiteJournal, at now: Timestamp) throws {
    let record = PageBuffer(byteCount: 4096)
    for _ in 0..<count {
      try unsafe journal.append(
        .write, disk: DiskNumber(0), offset: 0, length: 512, now: now, record: record.base)
      try journal.sealActive()
    }
  }

  /// A guest that reads all the time would hold up the recycling, and so every write.
  @Test func `a read that waits for the index keeps no applied segment`() throws {
    let scratch = try ScratchDirectory()
    let host = try protectedHost(scratch)
    try host.open()
    let group = try #require(host.group)
    host.loop.start()
    defer {
      host.release()
      host.end()
    }
    func onLoop<Value: Sendable>(
      _ body: @escaping @Sendable (SiteJournal) throws -> Value
    ) throws -> Value {
      let answer = host.loop.ask { done in
        done(Result { try body(try #require(group.journal)) })
      }
      return try #require(answer).get()
    }
    try eventually("there is room") {
      host.loop.perform { group.tick() }
      return try onLoop { $0.freeSegmentCount(grows: false) >= 3 }
    }
    let freed = try onLoop { journal in
      try write(3, journal, at: Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()))
      let newest = try #require(journal.newestSegment)
      journal.applyCompleted(through: SequenceNumber(newest.firstSequence.rawValue - 1))
      let lookUp = group.coldLookUp(DiskNumber(0))
      defer { lookUp?.release() }
      return journal.recycle(before: newest.number)
    }
    #expect(freed >= 2)
  }

  /// It would read segments that are erased under it.
  @Test func `work on the index is stopped before the journal starts over`() throws {
    let scratch = try ScratchDirectory()
    let host = try recoveryHost(scratch)
    let group = try #require(host.group)
    let listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    let hello = LinkHello(
      site: "east", receiver: "west", groupName: "g", group: GroupIdentifier(high: 1, low: 2),
      lineage: Lineage(),
      segmentByteCount: 64 << 10, disks: [.init(name: "disk", byteCount: 1 << 20)])
    let receiver = LinkReceiver(
      Transport(listener), leftover: [], hello: hello, group: group, log: ClientLog { _ in })
    host.loop.start()
    defer {
      host.release()
      host.end()
    }
    let isStopped = host.loop.ask { done in
      let stop = group.indexUpkeep.stop
      let before = stop.isSet
      group.cut(after: .none, isDiscarded: false, receiver)
      done(!before && stop.isSet)
    }
    #expect(isStopped == true)
  }
}
