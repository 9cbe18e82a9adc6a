/// A deliberate mistake, which the simulator must find: `simulator SEED --mutant NAME`.
///
/// Mistakes of the system are made beside this file. Those of the program are single lines under
/// `#if MUTANTS` where the right ones are; only the build over simulated machines knows that
/// condition. Each is described in `docs/reliability.md`.
public enum Mutant: String, CaseIterable {
  // Of the system: what the program asks for does not happen.
  case skipSegmentSync = "skip-segment-sync"
  case skipStateSync = "skip-state-sync"
  case skipDiskSync = "skip-disk-sync"
  case skipFolderSync = "skip-folder-sync"

  // Of the write path.
  case ignoreShortWrite = "ignore-short-write"
  case syncNewestOnly = "sync-newest-only"
  case acknowledgeWriteEarly = "acknowledge-write-early"
  case acknowledgeFlushEarly = "acknowledge-flush-early"
  case acknowledgeFUAEarly = "acknowledge-fua-early"
  case vouchForLost = "vouch-for-lost"
  case trustClock = "trust-clock"
  case forgetPromise = "forget-promise"
  case keepDiscardedPromise = "keep-discarded-promise"

  case endBufferEarly = "end-buffer-early"
  case checkpointAtRest = "checkpoint-at-rest"

  // Of apply and views.
  case applyOutOfOrder = "apply-out-of-order"
  case applyEarly = "apply-early"
  case recycleEarly = "recycle-early"
  case reuseUnnoted = "reuse-unnoted"
  case overwriteUnsaved = "overwrite-unsaved"
  case openTooLate = "open-too-late"
  case swallowWriteOut = "swallow-write-out"

  // Of the index in files.
  case forgetUnresolved = "forget-unresolved"
  case trustIndexPage = "trust-index-page"
  case trustRecycledPage = "trust-recycled-page"
  case mergeOutOfOrder = "merge-out-of-order"
  case failForDescriptor = "fail-for-descriptor"
  case forgetLaterChanges = "forget-later-changes"

  // Of recovery.
  case acceptStaleSegment = "accept-stale-segment"
  case skipChecksum = "skip-checksum"
  case keepEpoch = "keep-epoch"
  case keepIncarnation = "keep-incarnation"
  case eraseMore = "erase-more"
  case keepPeerMark = "keep-peer-mark"
  case reopenTooEarly = "reopen-too-early"

  // Of the link.
  case dropOnReconnect = "drop-on-reconnect"
  case ignoreFork = "ignore-fork"
  case skipRecoverySync = "skip-recovery-sync"
  case resumeStaleSegment = "resume-stale-segment"
  case viewDuringReset = "view-during-reset"
  case applyDuringCopy = "apply-during-copy"
  case completeCopyEarly = "complete-copy-early"
  case confirmCopyEarly = "confirm-copy-early"
  case forgetFollowed = "forget-followed"
  case joinForeignCopy = "join-foreign-copy"
  case leaveOutDifferent = "leave-out-different"
  case skipDebt = "skip-debt"
  case keepForNearest = "keep-for-nearest"
  case numberByPlace = "number-by-place"

  // Of disks that come and leave.
  case reuseDiskNumber = "reuse-disk-number"
  case showBeforeWhole = "show-before-whole"
  case keepComingDisk = "keep-coming-disk"

  // Of roles.
  case forgetOwnDurable = "forget-own-durable"
  case keepOwnReservation = "keep-own-reservation"

  // Of failover.
  case keepTerm = "keep-term"
  case applyPastFork = "apply-past-fork"
  case commitEarly = "commit-early"
  case trustFormerOwner = "trust-former-owner"
  case keepParkedCopy = "keep-parked-copy"
  case forgetParked = "forget-parked"
  case forgetFence = "forget-fence"
  case fenceLate = "fence-late"
  case stayFenced = "stay-fenced"
  case followFromLast = "follow-from-last"
  case skipRestamp = "skip-restamp"
  case restampLate = "restamp-late"
  case forgetDropped = "forget-dropped"
  case forgetUnapplied = "forget-unapplied"
  case detachBare = "detach-bare"
  case keepForeignBase = "keep-foreign-base"
  case keepForeignRecords = "keep-foreign-records"
  case passDifferent = "pass-different"
  case digestPart = "digest-part"

  // Of branches.
  case forgetSavedSync = "forget-saved-sync"
  case forgetLoss = "forget-loss"
  case forgetBranchHold = "forget-branch-hold"
  case trustSavedTail = "trust-saved-tail"
  case dropSaved = "drop-saved"
  case forgetDoubt = "forget-doubt"

  // Of what people are told.
  case trustSocket = "trust-socket"
  case forgetSetback = "forget-setback"

  /// Set before the simulation begins.
  nonisolated(unsafe) public static var chosen: Mutant?

  public var isOn: Bool { unsafe Self.chosen == self }

  /// Whether `fdatasync` does nothing. A file goes by the name that it was created with.
  static func skipsDataSync(of file: OpenFile) -> Bool {
    switch unsafe chosen {
    case .skipSegmentSync: file.path.contains("/segment-")
    case .skipStateSync: file.path.contains("/state")
    case .skipDiskSync: file.path.hasPrefix("/disks/")
    default: false
    }
  }

  /// Whether `fsync` does nothing.
  static func skipsWholeSync(of file: OpenFile) -> Bool {
    unsafe chosen == .skipFolderSync && file.inode == nil && file.path.hasPrefix("/data/")
  }
}
