/// How much a condition matters.
public enum Severity: String, CaseIterable, Comparable, Sendable {
  /// Nothing is wrong; good to know.
  case info
  /// Not as it should be; nothing is missing yet.
  case warning
  /// Something that the configuration promises is missing.
  case error
  /// Guests are not served, or will not be if nobody acts.
  case critical

  public static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }

  private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// Every condition of a group that a site can report; the one list that status, the log and
/// `docs/monitor.md` share. A raw value is a promise to programs: it is not changed.
///
/// A new one is a case and its facts here, a line in `Group.presentConditions` and a row in the
/// table of `docs/monitor.md` (a test compares the two). Within a severity, what comes first here
/// is told first: a cause before its effect.
public enum ConditionCode: String, CaseIterable, Sendable {
  case groupFailed = "group-failed"
  case groupClosed = "group-closed"
  case groupUnanswered = "group-unanswered"
  case fenced = "fenced"
  case moveInDoubt = "move-in-doubt"

  case writesLost = "writes-lost"
  case journalDamaged = "journal-damaged"
  case applyStopped = "apply-stopped"
  case storeFailing = "store-failing"
  case journalCannotGrow = "journal-cannot-grow"
  case writesWait = "writes-wait"
  case diverged = "diverged"
  case cannotFollow = "cannot-follow"
  case linkRefused = "link-refused"
  case linkStalled = "link-stalled"
  case linkDown = "link-down"
  case peerMustBeCopied = "peer-must-be-copied"
  case diskTooSmall = "disk-too-small"
  case diskMissing = "disk-missing"

  case changingHands = "changing-hands"
  case failoverPending = "failover-pending"
  case groupReopened = "group-reopened"
  case linkUnstable = "link-unstable"
  case linkWaitsForRoom = "link-waits-for-room"
  case rpoHigh = "rpo-high"
  case peerDiskTooSmall = "peer-disk-too-small"
  case copyIncomplete = "copy-incomplete"
  case clockStepped = "clock-stepped"
  case indexUnwritten = "index-unwritten"
  case diskWaits = "disk-waits"

  case recordsDamaged = "records-damaged"
  case copying = "copying"
  case diskComing = "disk-coming"
  case testEnded = "test-ended"
  case linkInTheClear = "link-in-the-clear"

  public struct Facts: Sendable {
    public let severity: Severity
    public let meaning: String
    public let remedy: String

    init(_ severity: Severity, _ meaning: String, remedy: String) {
      self.severity = severity
      self.meaning = meaning
      self.remedy = remedy
    }
  }

  public var facts: Facts {
    switch self {
    case .groupFailed:
      Facts(
        .critical, "the journal cannot be written or synced; the group serves nothing",
        remedy: "repair the storage that the text names; the group is opened again by itself")
    case .groupClosed:
      Facts(
        .critical, "the group could not be opened, or has failed; tried again by itself",
        remedy: "mend what the text names; `tapline reload` tries at once")
    case .groupUnanswered:
      Facts(
        .critical,
        "the group's thread did not answer in time; the rest is what it said last",
        remedy: "look for storage that hangs, in the kernel's log")
    case .fenced:
      Facts(
        .critical, "another site owns the group, by a higher term: writes here are refused",
        remedy: "attach the guests at the site that the text names; or, if that was a mistake, "
          + "`tapline rollback GROUP` there; if that site is lost, `tapline failover GROUP` here")
    case .moveInDoubt:
      Facts(
        .critical,
        "a move was interrupted when the other site had been asked to take over; no write is "
          + "acknowledged until the two meet",
        remedy: "start that site, and mend the link: then it is decided by itself; if that site is "
          + "lost, `tapline failover GROUP` here takes the group back")
    case .writesLost:
      Facts(
        .error, "a sync failed and cost records that clients were told of, though not as durable",
        remedy: "restart the guests of the group's disks, then the site")
    case .journalDamaged:
      Facts(
        .error, "a record of the journal is damaged, and the disk lacks it: apply stops before it",
        remedy: "do not restart the site yet; begin the group anew, as docs/recover.md tells under "
          + "\"When apply meets damage\"")
    case .applyStopped:
      Facts(
        .error, "records cannot be applied to a disk's backing store; tried again each second",
        remedy: "repair or attach the backing store that the text names")
    case .storeFailing:
      Facts(
        .error, "the backing store of a plain disk fails requests; each is answered with its error",
        remedy: "repair the store that the text names, or give it space; it goes on by itself")
    case .journalCannotGrow:
      Facts(
        .error, "a new segment of the journal cannot be created; tried again each second",
        remedy: "free space in the file system of the data folder, or add some")
    case .writesWait:
      Facts(
        .error, "the journal is full, and guests' writes wait",
        remedy: "see to what the text says room waits for; or give the journal a larger size")
    case .diverged:
      Facts(
        .error,
        "each site has records that the other lacks; nothing is sent or overwritten until "
          + "you decide",
        remedy: "`tapline sync GROUP --discard-follower` at the protected site gives up what the "
          + "peer has more; docs/recover.md tells how to keep it instead")
    case .cannotFollow:
      Facts(
        .error, "another site owns the group, and this one cannot follow it as it is",
        remedy: "do what the text says, after a look at what it names; it is tried again by itself")
    case .linkRefused:
      Facts(
        .error, "the peer refuses this group; nothing is sent",
        remedy: "do what the text says; the link goes on by itself")
    case .peerMustBeCopied:
      Facts(
        .error, "the journal was full, and the peer's records were dropped (`on_full: degrade`)",
        remedy: "bring the peer back: it gets what it lacks by itself")
    case .diskTooSmall:
      Facts(
        .error, "a disk here has no room for what the peer writes, or will write",
        remedy: "make the disk larger here and reload the site")
    case .diskMissing:
      Facts(
        .error, "a disk was added to the group at the peer, and is not here",
        remedy: "add the disk to the group here and reload the site; records wait at the peer")
    case .linkStalled:
      Facts(
        .error, "the peer is connected, and has acknowledged or sent nothing for ten seconds",
        remedy: "look at the peer's status, log and storage, and at the network between the sites")
    case .linkDown:
      Facts(
        .error, "there has been no connection with the peer for five seconds; it is tried again",
        remedy: "see that the peer's site runs and that its address is reachable")
    case .changingHands:
      Facts(
        .warning, "a failover, a rollback or a move is under way; clients wait, or come again",
        remedy: "wait a moment: it ends by itself, also after a crash, and `tapline status` says "
          + "what came of it")
    case .failoverPending:
      Facts(
        .warning, "this site has taken the group over, and the failover is not decided yet",
        remedy: "`tapline commit GROUP` keeps it, `tapline rollback GROUP` takes it back")
    case .groupReopened:
      Facts(
        .warning,
        "the group had to fail; it is open again, and nothing new is durable yet. If it failed "
          + "several times, for five minutes in any case",
        remedy: "repair the storage that the text names, before it fails again; see that the "
          + "guests are connected")
    case .linkUnstable:
      Facts(
        .warning, "the connection with the peer has broken five times within a minute",
        remedy: "see what the logs of both sites say of the link")
    case .linkWaitsForRoom:
      Facts(
        .warning, "the journal here is full, and records of the peer have waited for five seconds",
        remedy: "see whether apply goes on; or give the journal a larger size")
    case .rpoHigh:
      Facts(
        .warning, "the newest record at the recovery site is more than a minute old",
        remedy: "compare the rate of writes with what the link and the peer's storage can take")
    case .peerDiskTooSmall:
      Facts(
        .warning, "a disk at the peer is smaller than here",
        remedy: "make the disk larger at the peer and reload that site")
    case .copyIncomplete:
      Facts(
        .warning,
        "the disks are not complete: nothing can be recovered here yet, but what the text names",
        remedy: "wait; if it does not begin, see to the protected site and its link; is that lost, "
          + "do what the text says")
    case .clockStepped:
      Facts(
        .warning, "the clock went back, or stamps are ahead of it",
        remedy: "see to the machine's clock and its time server; stamps come right by themselves")
    case .indexUnwritten:
      Facts(
        .warning, "the index of the history cannot be written to files, and takes memory instead",
        remedy: "mend what the text names: mostly, free space in the data folder's file system")
    case .diskWaits:
      Facts(
        .warning, "a disk that comes or leaves has waited for five seconds",
        remedy: "see to what the text names")
    case .recordsDamaged:
      Facts(
        .info, "a record that the peer lacked was damaged in the journal, but is on the disk",
        remedy: "look at the storage under the data folder: it does not keep what is written there")
    case .copying:
      Facts(
        .info, "a full copy to the peer is under way, or what it lacks of the disks is on its way",
        remedy: "none is needed; the text, or `sync_progress` of the link, says how far it is, "
          + "and the text how much of that the peer had already")
    case .diskComing:
      Facts(
        .info, "what a disk held when it was added comes into the history",
        remedy: "none is needed; instants show the disk from when that is done")
    case .linkInTheClear:
      Facts(
        .info,
        "what is written goes over a network unencrypted, and anybody there may say that he is "
          + "the peer",
        remedy: "pair the sites (`tapline pair`) and remove `tls: off` at both, unless nobody "
          + "else can reach that network")
    case .testEnded:
      Facts(
        .info, "a test has ended by itself, and its files are still there",
        remedy: "`tapline test stop NAME` deletes them and writes the report")
    }
  }

  public var severity: Severity { facts.severity }

  /// It is about whose the group is, and does not come and go by itself.
  var endsAtOnce: Bool {
    switch self {
    case .fenced, .moveInDoubt, .changingHands, .failoverPending: true
    default: false
    }
  }
}

/// One thing about a group that people should know.
struct Condition: Equatable, Sendable {
  let code: ConditionCode
  /// One sentence, with the numbers.
  let text: String
  /// The disk that it is about; nil when it is about the whole group. Conditions of one code and
  /// of several disks are several.
  let disk: String?
  /// The site that it is about, of those that a protected group sends to; as `disk`.
  let peer: String?

  init(_ code: ConditionCode, disk: String? = nil, peer: String? = nil, _ text: String) {
    self.code = code
    self.disk = disk
    self.peer = peer
    self.text = text
  }

  func isAboutTheSame(as other: Condition) -> Bool {
    code == other.code && disk == other.disk && peer == other.peer
  }
}
