import BlockModel
import StorageTesting
import SystemIO

@testable import Journal
@testable import Replication

/// The sending end of a link without a network, a thread or a clock: a test says what happens and
/// when, and sees what the link wants to be done.
final class SendingScene {
  let folder: FolderJournal
  let followers = Followers([(site: "west", whenFull: .block)])
  let stores = FolderJournal.disks.map { MemoryStore(byteCount: Int($0.byteCount)) }
  private(set) var link: SendingLink<MemoryStore>
  /// Monotonic nanoseconds.
  private(set) var now: UInt64 = 1_000_000_000_000
  /// Work that was given away and has not ended.
  private(set) var work: [LinkWork] = []
  /// What was not drained.
  private(set) var pending: [LinkParcel] = []

  typealias Link = SendingLink<MemoryStore>

  init(segmentByteCount: Int = FolderJournal.segmentByteCount) throws {
    folder = try FolderJournal(segmentByteCount: segmentByteCount)
    let journal = folder.journal
    let disks = SentDisks(
      zip(FolderJournal.disks, stores).map {
        .init(number: $0.number, name: $0.name, store: $1)
      }, next: 2)
    link = SendingLink(
      .init(
        endpoint: .tcp(host: "127.0.0.1", port: 1),
        hello: LinkHello(
          site: "east", receiver: "west", groupName: "shop", group: FolderJournal.group,
          lineage: journal.lineage,
          segmentByteCount: UInt32(journal.options.segmentByteCount), disks: FolderJournal.disks),
        catalog: journal.catalog, watermarks: journal.watermarks,
        reporter: followers.all[0].reporter, disks: disks, clock: { 0 }, log: { _ in }),
      now: now)
  }

  var follower: Follower { followers.all[0] }
  var phase: Link.Phase { link.phase }
  var milliseconds: UInt64? {
    link.deadline == .max ? nil : (link.deadline - now) / 1_000_000
  }

  func pass(milliseconds: UInt64) { now += milliseconds * 1_000_000 }

  /// Returns what is to be done, in words; what is to be sent by the kinds of its frames.
  @discardableResult
  func handle(_ event: Link.Event, readMillisecondsAgo: UInt64 = 0) -> [String] {
    link.handle(event, now: now, read: now - readMillisecondsAgo * 1_000_000).map { action in
      switch action {
      case .connect: return "connect"
      case .close:
        pending = []
        return "close"
      case .work(let work):
        self.work.append(work)
        return "work"
      case .send(let parcel):
        pending.append(parcel)
        return "\(Self.kind(parcel))"
      }
    }
  }

  private static func kind(_ parcel: LinkParcel) -> LinkFrameKind {
    let frame = unsafe parcel.head.withUnsafeBytes { head in
      unsafe head.baseAddress.flatMap { unsafe LinkFrame(parsing: $0) }
    }
    return frame?.kind ?? .hello
  }

  /// The network takes everything.
  @discardableResult
  func drain(hasWaited: Bool = false) -> [String] {
    let byteCount = pending.reduce(0) { $0 + $1.head.count + $1.body.byteCount }
    pending = []
    return handle(.drained(byteCount: UInt64(byteCount), hasWaited: hasWaited))
  }

  /// As `drain`, until nothing is to be sent; all that was sent since.
  func drainAll() -> [String] {
    var sent: [String] = []
    while !pending.isEmpty { sent += drain() }
    return sent
  }

  /// Does the work that was given away.
  @discardableResult
  func finishWork() -> [String] {
    for work in work { work.run() }
    work = []
    return handle(.worked)
  }

  @discardableResult
  func arrive(_ kind: LinkFrameKind, _ body: [UInt8] = [], argument: UInt64 = 0) -> [String] {
    handle(.arrived(LinkFrame(kind, bodyByteCount: body.count, argument: argument), body))
  }

  /// One record in a batch of its own; the link hears of it if it asked to.
  func write(_ byteCount: Int = 100) throws {
    try folder.append(.write, offset: 0, payload: [UInt8](repeating: 1, count: byteCount))
  }

  func report(_ sequence: UInt64) {
    let mark = SequenceNumber(sequence)
    let progress = LinkProgress(
      isRecoverable: true, received: mark, durable: mark, applied: .none,
      durableTimestamp: .zero)
    arrive(.progress, progress.encoded())
  }

  /// Of a peer that has no record.
  func welcome(needsBaseline: Bool = false, site: String = "west") -> LinkWelcome {
    LinkWelcome(
      site: site, needsBaseline: needsBaseline, lineage: Lineage(),
      last: LastRecord(.none, .zero), position: StreamPosition(argument: 0),
      segmentIncarnation: .none, ownerDurable: .unknown, applied: .none,
      disks: FolderJournal.disks)
  }

  /// Of one that ends in an incarnation of which nobody here knows.
  var foreignWelcome: LinkWelcome {
    var foreign = welcome()
    foreign.lineage.begin(after: .init(.none, .zero), term: 1, replacingNewest: false)
    foreign.last = LastRecord(SequenceNumber(3), Timestamp(rawValue: 3))
    return foreign
  }

  /// To where both ends agree and everything is sent.
  func stream() {
    handle(.start)
    agree()
  }

  /// From where the connection is there.
  func agree(needsBaseline: Bool = false) {
    handle(.connected)
    _ = drainAll()
    arrive(.welcome, welcome(needsBaseline: needsBaseline).encoded())
    while !work.isEmpty { finishWork() }
    _ = drainAll()
  }

  /// A welcome comes, and what is looked up for it is there. What is to be done then.
  func arriveAndCompare(_ welcome: LinkWelcome) -> [String] {
    arrive(.welcome, welcome.encoded())
    return finishWork()
  }
}
