import Foundation
import Testing

/// Proves that nothing on the way to the disks drops a result in passing: what a call was told may
/// be told once, and whoever vouches for the data later then knows nothing of it. Each place that
/// drops one is counted here, with the reason why that is right. Sockets, listeners and the command
/// line vouch for no data and are left out.
struct DroppedResultTests {
  private static let allowed: [String: (count: Int, because: String)] = [
    "Appliance/Group/BranchParting.swift": (
      4, "what is left of a branch that is removed is no branch, and goes with the next one"
    ),
    "Appliance/Group/Group.swift": (1, "a commit that fails ends the group, which ends anyway"),
    "Appliance/Group/GroupApply.swift": (1, "a periodic checkpoint without room is left out"),
    "Appliance/Group/GroupDiskBacking.swift": (
      3, "a store that cannot be opened is not there, and what is no address is another one"
    ),
    "Appliance/Group/GroupDurability.swift": (
      1, "what is not noted now is noted by the next change"
    ),
    "Appliance/Group/GroupFork.swift": (
      2, "the owner's claim is told again with each connection, and a tie found again"
    ),
    "Appliance/Group/GroupRestamping.swift": (
      4, "what a branch cannot tell is not known; and a deliberate mistake of the simulator"
    ),
    "Appliance/Group/GroupViews.swift": (1, "an instant that is not in the history is not offered"),
    "Appliance/Group/OwnershipExchange.swift": (
      2, "what cannot be read is damaged, and refused; what cannot be removed means nothing"
    ),
    "Journal/Follower.swift": (1, "the result of an atomic, not of a call that fails"),
    "Journal/JournalRecovery.swift": (2, "what was dropped is dropped again if it comes back"),
    "Journal/JournalStorage.swift": (
      4, "direct transfers are a hint; unfinished files are removed again before their next use"
    ),
    "Journal/SidecarJob.swift": (1, "half a sidecar does not verify, and is written anew"),
    "Journal/SidecarIndex.swift": (4, "what does not decode is damaged, and not trusted"),
    "Journal/SlotSurvey.swift": (5, "a segment whose sidecar cannot be read is read itself"),
    "JournalTools/ExportTarget.swift": (1, "an unfinished export is removed by the next"),
    "JournalTools/JournalFolder.swift": (4, "what cannot be read is told as such, or not trusted"),
    "JournalTools/SegmentFile.swift": (3, "what cannot be read is told as such"),
    "JournalTools/SegmentImage.swift": (2, "pages that cannot be read are zeros, which are damage"),
    "JournalTools/SidecarCheck.swift": (2, "what cannot be read is told as such"),
    "Replication/LastRecord.swift": (1, "what cannot be read counts as another record"),
    "Replication/ReceivingLink.swift": (1, "what is malformed ends the connection, with words"),
    "Replication/RecordRepair.swift": (2, "what cannot be read cannot be made again"),
    "Storage/FileStore.swift": (1, "a deliberate mistake of the simulator"),
    "Storage/UpstreamConnection.swift": (1, "a goodbye that is not answered"),
    "Storage/UpstreamPool.swift": (
      3, "connecting is tried again; a flush that fails counts as a connection that broke"
    ),
    "SystemIO/File.swift": (
      3, "direct transfers are a hint; who forgets memory reads none of what was lost"
    ),
    "Volume/DetachedView.swift": (2, "results of atomics, not of calls that fail"),
  ]

  private static let modules = [
    "Appliance/Group/", "Journal/", "JournalTools/", "Replication/", "Storage/", "SystemIO/File",
    "SystemIO/Directory", "Tap/", "Volume/",
  ]

  @Test func `every result that is dropped on the way to the disks has a reason`() throws {
    var found: [String: Int] = [:]
    for file in try Tree.swiftFiles(below: "Sources") {
      let name = String(file.dropFirst("Sources/".count))
      guard Self.modules.contains(where: name.hasPrefix) else { continue }
      let count = try Tree.text(file).split(separator: "\n").count { Self.drops($0) }
      if count > 0 { found[name] = count }
    }
    for name in Set(found.keys).union(Self.allowed.keys).sorted() {
      #expect(
        found[name] ?? 0 == Self.allowed[name]?.count ?? 0,
        "\(name) drops \(found[name] ?? 0) results: handle them, or say in the table why not")
    }
  }

  /// `_ = try` drops a value, not an error.
  private static func drops(_ line: Substring) -> Bool {
    let code = line.split(separator: "//", maxSplits: 1, omittingEmptySubsequences: false)[0]
    if code.contains("try?") { return true }
    guard let place = code.range(of: "_ = ") else { return false }
    let isName = code[..<place.lowerBound].last?.isLetter ?? false
    let rest = code[place.upperBound...]
    return !isName && !rest.hasPrefix("try ") && !rest.hasPrefix("unsafe try ")
  }
}
