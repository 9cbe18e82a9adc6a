import BlockModel
import Journal
import Storage
import SystemIO

/// What a full journal has dropped for followers, in a file of the group's folder for each: before
/// segments are used again that a follower lacks, what their records have changed is written down.
/// Two threads free segments; one at a time is at work here.
///
/// Where it cannot be written, or not be read from the segments, all that the follower has is
/// compared: the guest does not wait for it.
final class DroppedFiles: Sendable {
  private let folder: String
  private let group: GroupIdentifier
  private let followers: Followers
  private let log: @Sendable (String) -> Void
  private let turn = Turn()

  /// Nil: nobody follows.
  init?(_ parts: GroupParts, log: @escaping @Sendable (String) -> Void) {
    guard let journal = parts.journal, let stateKeeper = parts.stateKeeper,
      !parts.followers.all.isEmpty
    else { return nil }
    folder = journal.storage.path
    group = stateKeeper.state.group
    followers = parts.followers
    let name = parts.configuration.name
    self.log = { log("group \(name): \($0)") }
  }

  private static func path(_ site: String, in folder: String) -> String {
    "\(folder)/\(DroppedChanges.fileNamePrefix)\(site)"
  }

  private func path(_ follower: Follower) -> String { Self.path(follower.site, in: folder) }

  // MARK: Opening

  /// What was dropped when the group was open before, as far as it is of the order that is here.
  /// Blocks.
  ///
  /// - Parameter oldest: the first record in the journal.
  static func load(
    _ followers: Followers, _ state: JournalState, in folder: String, oldest: SequenceNumber?,
    log: (String) -> Void
  ) {
    for follower in followers.all {
      let path = path(follower.site, in: folder)
      guard Directory.exists(path) else { continue }
      do throws(Errno) {
        let bytes = try DurableFile.read(path, limit: DroppedChanges.byteLimit)
        let known = DroppedChanges(decoding: bytes)
        let holder = known.flatMap { state.lineage.holder(of: $0.through.sequence) }
        guard let known, known.group == state.group, known.site == follower.site,
          holder?.identifier == known.incarnation,
          oldest.map({ $0 <= known.through.sequence.advanced(by: 1) }) ?? true
        else {
          try Directory.remove(path)
          continue
        }
        follower.dropped.set(known)
      } catch { log("\(path): \(error.withAdvice)") }
    }
  }

  // MARK: Dropping

  /// So many segments are noted at a time: whoever waits for room gets the first of them soon.
  private static let portion = 16

  /// Segments of lower numbers are about to be called void. Durable when it returns. Blocks; off
  /// the loop.
  ///
  /// - Returns: the number before which they may be: of many it is the turn of the first only.
  func note<File: JournalFile>(
    before number: UInt32, _ catalog: SegmentCatalog<File>, of disks: [JournalState.Disk]
  ) -> UInt32 {
    // Whoever was given up may be kept again since: what it lacks counts.
    let last = catalog.segment(number).map { $0.firstSequence.rawValue - 1 } ?? .max
    let isWanted = followers.all.contains {
      $0.durable.rawValue < last || $0.dropped.changes != nil
    }
    guard isWanted else { return number }
    let oldest = catalog.oldest?.number ?? number
    let number = min(number, oldest + UInt32(Self.portion))
    turn.take {
      for follower in followers.all { note(follower, before: number, catalog, of: disks) }
    }
    return number
  }

  private func note<File: JournalFile>(
    _ follower: Follower, before number: UInt32, _ catalog: SegmentCatalog<File>,
    of disks: [JournalState.Disk]
  ) {
    var known = follower.dropped.changes
    let hasAll = known.map { !follower.isDetached && follower.durable >= $0.through.sequence }
    if known != nil, hasAll == true || follower.debt.isActive {
      remove(follower)
      known = nil
    }
    guard var changes = known ?? beginning(follower) else { return }
    let before = changes.through
    let segments = catalog.pinnedAll(before: number)
    defer { for segment in segments { segment.unpin() } }
    for segment in segments {
      guard let next = catalog.segment(segment.number + 1)?.firstSequence,
        next > changes.through.sequence.advanced(by: 1)
      else { continue }
      var isKnown = false
      // What does not verify is looked for by those who must have it.
      do throws(JournalError) { isKnown = try changes.take(segment, of: disks) } catch {}
      guard isKnown, changes.through.sequence.advanced(by: 1) == next else {
        return remove(follower)
      }
    }
    if changes.through != before { write(changes, for: follower) }
  }

  /// Nil: nothing is dropped for it, or it has nothing that could be gone on from.
  private func beginning(_ follower: Follower) -> DroppedChanges? {
    guard !follower.debt.isActive, follower.durable > .none else { return nil }
    return DroppedChanges(group: group, site: follower.site, after: follower.durable)
  }

  private func write(_ changes: DroppedChanges, for follower: Follower) {
    do throws(Errno) {
      try DurableFile.replace(path(follower), with: changes.encoded())
      follower.dropped.set(changes)
    } catch {
      log(
        "what was dropped for \(follower.site) cannot be written down, and all that it has will be "
          + "compared: \(path(follower)): \(error.withAdvice)")
      remove(follower)
    }
  }

  /// Nobody can tell any more, or need. A file that stays is of an older state than the journal,
  /// and not believed.
  private func remove(_ follower: Follower) {
    follower.dropped.set(nil)
    do throws(Errno) { try Directory.remove(path(follower)) } catch .notFound {} catch {
      log("removing \(path(follower)): \(error.withAdvice)")
    }
  }
}
