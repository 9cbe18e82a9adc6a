import BlockModel
import SystemIO
import Testing

@testable import Journal
@testable import Replication

/// Proves what the owner takes from a former one that says what it lacks, and what it has in that
/// place, and when it tells how far it has come: of nothing that a power cut could take.
@Suite struct SendingLackingTests {
  private static func extents(_ starts: UInt64...) -> [DiskExtent] {
    starts.map { DiskExtent(DiskNumber(0), ByteRange(start: $0, length: 512)) }
  }

  private func scene(lacking: Bool = true) throws -> SendingScene {
    let scene = try SendingScene()
    scene.handle(.start)
    scene.handle(.connected)
    _ = scene.drainAll()
    var welcome = scene.welcome()
    if lacking { welcome.lacksAfter = SequenceNumber(0) }
    scene.arrive(.welcome, welcome.encoded())
    while !scene.work.isEmpty { scene.finishWork() }
    _ = scene.drainAll()
    return scene
  }

  private func name(_ extents: [DiskExtent], in scene: SendingScene) {
    scene.arrive(.lacking, LinkMessage.encodeLacking(extents[...]))
  }

  private static let exactAfter = JournalState.OwnerMark(
    .init(high: 1, low: 2), SequenceNumber(3))

  private func end(_ count: Int, in scene: SendingScene) {
    scene.arrive(
      .lackingEnd, LinkMessage.encode(Self.exactAfter), argument: UInt64(count))
  }

  private func tick(_ scene: SendingScene) -> [String] {
    scene.pass(milliseconds: 200)
    return scene.handle(.time) + scene.drainAll()
  }

  private func sync(_ scene: SendingScene) throws {
    let journal = scene.folder.journal
    let job = try #require(journal.syncJob())
    try job.run()
    journal.syncCompleted(job)
  }

  @Test func `what is named in order is what is asked for`() throws {
    let scene = try scene()
    let lack = scene.link.monitor.lack
    name(Self.extents(0, 512), in: scene)
    name(Self.extents(4096), in: scene)
    #expect(lack.request == nil)
    end(3, in: scene)
    #expect(lack.request?.extents.extents == Self.extents(0, 512, 4096))
    #expect(lack.request?.exactAfter == Self.exactAfter)
    #expect(lack.progress == .init(byteCount: 0, total: 3 * 512))
    #expect(scene.link.monitor.snapshot.state == .syncing)
    #expect(!scene.link.monitor.snapshot.isRecoverable)
    scene.handle(.disconnected(.network("lost")))
    #expect(lack.request == nil && lack.progress == nil)
  }

  @Test(arguments: 0..<7) func `anything else ends the connection`(number: Int) throws {
    let scene = try scene(lacking: number != 0)
    switch number {
    case 0: name(Self.extents(0), in: scene)
    case 1: name(Self.extents(512, 0), in: scene)
    case 2: name(Self.extents(0, 256), in: scene)
    case 3: name(Self.extents(FolderJournal.disks[0].byteCount), in: scene)
    case 4: scene.arrive(.lacking, [1, 2, 3])
    case 5: end(1, in: scene)
    default:
      end(0, in: scene)
      end(0, in: scene)
    }
    guard case .waiting = scene.phase else {
      Issue.record("\(scene.phase)")
      return
    }
    if number < 6 { #expect(scene.link.monitor.lack.request == nil) }
  }

  private func say(_ digests: [BlockDigest], from offset: UInt64, in scene: SendingScene) {
    let position = DiskPosition(DiskNumber(0), offset)
    scene.arrive(.digests, LinkMessage.encodeDigests(digests, from: position))
  }

  @Test func `what it has there is known by the block, and late words do no harm`() throws {
    let scene = try scene()
    let lack = scene.link.monitor.lack
    name(Self.extents(0, 4096), in: scene)
    end(2, in: scene)
    let number = try #require(lack.request?.number)
    let digest = BlockDigest.zeros(512)
    say([digest], from: 0, in: scene)
    #expect(
      lack.word(at: .start, of: number) == .said(Self.extents(0)[0], digest))
    let second = DiskPosition(DiskNumber(0), 4096)
    #expect(lack.word(at: second, of: number) == .awaited)
    // Another connection's are not asked for.
    #expect(lack.word(at: .start, of: number + 1) == .awaited)
    lack.ended(at: .init(SequenceNumber(0), Timestamp(rawValue: 9)), of: number)
    #expect(tick(scene).contains("reconciled"))
    say([digest], from: 4096, in: scene)
    guard case .streaming = scene.phase else {
      Issue.record("\(scene.phase)")
      return
    }
  }

  @Test(arguments: 0..<4) func `words that nobody asked for end the connection`(number: Int) throws
  {
    let scene = try scene()
    let digest = BlockDigest.zeros(512)
    name(Self.extents(0, 4096), in: scene)
    if number > 0 { end(2, in: scene) }
    switch number {
    case 0: say([digest], from: 0, in: scene)
    case 1: say([digest], from: 512, in: scene)
    case 2: say([digest, digest, digest], from: 0, in: scene)
    default: scene.arrive(.digests, [1, 2, 3])
    }
    guard case .waiting = scene.phase else {
      Issue.record("\(scene.phase)")
      return
    }
  }

  @Test func `what is not durable is not told, and the end once`() throws {
    let scene = try scene()
    let lack = scene.link.monitor.lack
    name(Self.extents(0, 4096), in: scene)
    end(2, in: scene)
    let number = try #require(lack.request?.number)
    try scene.write()
    lack.reached(.init(DiskNumber(0), 512), by: SequenceNumber(1), byteCount: 512, of: number)
    #expect(!tick(scene).contains("restamped"))
    try sync(scene)
    #expect(tick(scene).contains("restamped"))
    #expect(!tick(scene).contains("restamped"))
    try scene.write()
    lack.ended(at: .init(SequenceNumber(2), Timestamp(rawValue: 9)), of: number)
    #expect(lack.request == nil)
    #expect(!tick(scene).contains("reconciled"))
    try sync(scene)
    #expect(tick(scene).contains("reconciled"))
    #expect(!tick(scene).contains("reconciled"))
    // Nothing of an earlier connection counts.
    lack.ended(at: .init(SequenceNumber(2), Timestamp(rawValue: 9)), of: number)
    #expect(!tick(scene).contains("reconciled"))
  }
}
