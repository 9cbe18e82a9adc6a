import BlockModel
import Journal

extension Divergence {
  /// What both sites say of it: the numbers, and the ways out. One sentence without a full stop.
  public func text(
    of group: String, owner ownerSite: String, follower followerSite: String
  ) -> String {
    let reason =
      switch cause {
      case .unknownIncarnation:
        "\(followerSite) has records of a start of \(ownerSite) that \(ownerSite) knows nothing of"
      case .durableLost(let sequence):
        "record \(sequence.rawValue) was durable where it was made, and \(ownerSite) lacks it"
      case .otherRecord:
        "record \(follower.sequence.rawValue) is another one at each site"
      }
    let shared =
      common.map { "the last record of both is \($0.sequence.rawValue)\(Self.time($0))" }
      ?? "no record is known to be the same at both"
    return "diverged: \(reason): \(shared); behind it \(ownerSite) has "
      + "\(Self.rest(of: owner, behind: common)), \(followerSite) "
      + "\(Self.rest(of: follower, behind: common)); nothing is sent or overwritten until you "
      + "decide: 'tapline sync \(group) --discard-follower' at \(ownerSite) gives up what "
      + "\(followerSite) has more; docs/recover.md tells how to keep it instead"
  }

  private static func rest(
    of mark: JournalState.Mark, behind common: JournalState.Mark?
  ) -> String {
    let first = (common?.sequence ?? .none).advanced(by: 1)
    if mark.sequence < first { return "nothing" }
    return "records \(first.rawValue) to \(mark.sequence.rawValue)\(time(mark))"
  }

  private static func time(_ mark: JournalState.Mark) -> String {
    mark.timestamp == .zero ? "" : " of \(mark.timestamp)"
  }
}
