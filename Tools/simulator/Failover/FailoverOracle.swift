import BlockModel

/// What must be true of a group that two sites own by turns: the tree of all records that either
/// has ever stamped, and for each site the path through it that it has.
final class FailoverOracle {
  let disks: [DiskImage]
  let archive = Archive()
  private(set) var sites: [SiteOracle] = []
  let violation: (String) -> Never
  /// Times that an owner came back from a power cut without records that it had stamped. Its peer
  /// may have applied them, and need a full copy.
  var lossCount = 0
  /// Times that a former owner became a follower with records that the next one lacks.
  var yieldCount = 0

  init(_ names: [String], _ disks: [DiskImage], violation: @escaping (String) -> Never) {
    self.disks = disks
    self.violation = violation
    sites = names.indices.map { SiteOracle(names[$0], $0, self) }
  }

  func other(than site: SiteOracle) -> SiteOracle { sites[1 - site.index] }

  func emptyLine() -> Line { Line(initial: disks) }
}

/// Records that are apart from a site's order, and kept.
struct ParkedRecords {
  /// Ends with the last of them.
  let line: Line

  var tip: Record? { line.records.last }

  init(endingWith tip: Record?, _ oracle: FailoverOracle) {
    line = oracle.emptyLine()
    line.adopt(endingWith: tip)
  }
}

/// An ownership that can be taken back.
struct ForkRecord {
  /// The last record that is kept.
  let after: Record?
  /// What the site had.
  let tail: Record?
  /// What the pending ownership has written, once that is being taken back.
  var returned: Record?
}
