import BlockModel
import Journal
import Replication

/// The connection on which a peer's records come to a recovery group: what the group asks of it and
/// tells it. Confined to the group's loop.
protocol IncomingLink: AnyObject, Sendable {
  /// For what a peer may cause again and again.
  var log: ClientLog { get }
  /// The protected site's disks, as it last said.
  var peerDisks: [JournalState.Disk] { get }
  /// The newest record that it had when it said so.
  var peerLast: SequenceNumber { get }
  /// What the protected site stamps as now.
  var peerIncarnation: IncarnationIdentifier? { get }
  /// Both ends agree; records or pieces of a full copy come.
  var isStreaming: Bool { get }
  /// Records come beside what is left of a full copy.
  var isFollowing: Bool { get }
  /// The next segment has no file yet.
  var waitsForRoom: Bool { get }
  /// Nothing is read from the peer for now.
  var isPaused: Bool { get }
  /// When something of the peer came last, monotonic.
  var lastHeard: UInt64 { get }

  /// The welcome comes later; the peer hears that this site is there.
  func keepWaiting()
  func welcome(_ welcome: LinkWelcome)
  /// Says why, and closes.
  func refuse(_ reason: String)
  /// The peer is to give way to this site, which owns the group itself; closes.
  func outrank(_ rival: Rival)
  /// The journal was set back: pieces of the full copy, or records, can come.
  func baselineReady()
  /// The pieces before the peer's question of this number are durable.
  func confirmBaseline(_ number: UInt64)
  func report(_ progress: LinkProgress)
  /// What is here of as many blocks that are lacking, from the position on, and that nothing more
  /// is said of those before it.
  func tell(_ digests: [BlockDigest], from position: DiskPosition)
  /// Several times a second: the peer hears of this site at least once a second.
  func stayInTouch()
  /// Disks of this group have become larger.
  func disksGrew()
  /// The disk of the marker that comes next is as the marker says.
  func diskReady()
  /// There is room in the journal, or for more pieces of a full copy.
  func resume()
  func close()
}
