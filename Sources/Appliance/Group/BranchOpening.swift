import Analyzer
import BlockModel
import Configuration
import Journal
import Storage
import SystemIO
import Volume

/// The branch that a group serves: the group's disks are those of another group at an instant, and
/// what is written to them stays in its journal, from which nothing is ever applied.
struct ServedBranch: Sendable {
  let branch: Branch
  /// Whose branch it is.
  let group: Group

  /// Its journal is full.
  func limitReached() {
    let limit = ByteCount.format(branch.record.byteLimit)
    group.loop.post { [self] in
      group.end(branch, "\(limit) were written to it, which is its limit")
    }
  }
}

/// Opens a branch as a group of its own. Blocks; on the thread of its `GroupHost`.
enum BranchOpening {
  /// What a branch's group is called, in messages and among the site's groups.
  static func groupName(_ branch: String, of group: String) -> String { "\(group)@\(branch)" }

  /// - Parameters:
  ///   - group: what the branch is of; it is open.
  ///   - configuration: as `configuration(of:in:)` gives it.
  static func open(
    _ name: String, of group: Group, _ configuration: GroupConfiguration,
    known: GroupIdentifier?, files: InheritedFiles, _ indexMemory: IndexMemory,
    log: (String) -> Void
  ) throws(SiteError) -> GroupParts {
    guard let branch = group.branches.named(name) else {
      throw SiteError("group \(group.configuration.name) has no branch \(name)")
    }
    let view: SiteView
    do throws(SiteError) { view = try branch.use() } catch {
      throw SiteError("branch \(name): \(error)", isPassing: error.isPassing)
    }
    do throws(SiteError) {
      if let known { try GroupOpening.requireKnown(known, branch.folder) }
      var parts = GroupParts(
        configuration: configuration, duty: Duty(configuration.role),
        disks: disks(of: branch.record, view, configuration.name),
        observations: ObservationQueue())
      parts.branch = ServedBranch(branch: branch, group: group)
      parts.accessRules = group.accessRules
      do {
        try GroupOpening.openJournal(branch.folder, into: &parts, files, indexMemory, log: log)
      } catch let error as SiteError {
        throw error
      } catch let error as Errno {
        throw SiteError("branch \(name): folder \(branch.folder): \(error.withAdvice)")
      } catch { throw SiteError("branch \(name): folder \(branch.folder): \(error)") }
      return parts
    } catch {
      branch.endUse()
      throw error
    }
  }

  private static func disks(
    of record: BranchRecord, _ view: SiteView, _ group: String
  ) -> DiskTable {
    DiskTable(
      record.disks.map { disk in
        let base = "disk \(disk.name) as of \(record.instant)"
        let store = DiskStore(
          ViewDisk(view, disk.number, byteCount: disk.byteCount, description: base))
        return GroupDisk(
          WaitingDisk(name: record.exportName(of: disk), store: store, backing: base),
          number: disk.number, group: group)
      })
  }

  /// A configuration such as a file could not say it.
  ///
  /// - Parameter group: what the branch is of, as it is configured now.
  static func configuration(
    of record: BranchRecord, in group: GroupConfiguration
  ) -> GroupConfiguration {
    GroupConfiguration(
      name: groupName(record.name, of: group.name),
      role: record.kind == .parked ? .recovery : .protected,
      historyNanoseconds: ConfigurationLimits.durationNanoseconds, checkpointEveryNanoseconds: 0,
      journal: JournalConfiguration(
        capacityBytes: max(
          record.byteLimit, record.segmentByteCount * ConfigurationLimits.minimumSegments),
        onFull: .block, segmentSizeBytes: record.segmentByteCount, viewScratchBytes: 0),
      disks: record.disks.map { disk in
        DiskConfiguration(
          name: record.exportName(of: disk), sizeBytes: disk.byteCount,
          backing: .file(path: "\(disk.name)@\(record.instant)"),
          accessRules: group.disks.first { $0.name == disk.name }?.accessRules ?? [])
      })
  }
}
