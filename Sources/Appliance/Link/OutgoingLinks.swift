import Configuration
import Journal
import Replication
import Storage
import SystemIO

extension GroupParts {
  /// What sends the group's records, to each follower in their order.
  ///
  /// - Parameter site: the name of this site.
  func links(
    from site: String, on loops: LinkLoops, _ log: @escaping @Sendable (String) -> Void
  ) -> [LinkSender<DiskStore>] {
    guard let journal, let stateKeeper else { return [] }
    let state = stateKeeper.state
    let peers = GroupOpening.receivers(configuration, duty)
    return zip(followers.all, peers).compactMap { follower, peer in
      guard let address = peer.address else { return nil }
      let hello = LinkHello(
        site: site, receiver: peer.site, groupName: configuration.name, group: state.group,
        lineage: state.lineage, segmentByteCount: UInt32(journal.options.segmentByteCount),
        disks: [])
      return LinkSender(
        .init(
          endpoint: address, hello: hello, catalog: journal.catalog,
          watermarks: journal.watermarks, reporter: follower.reporter, disks: sentDisks,
          claim: { Claim(stateKeeper.state) }, clock: SystemClock.monotonicNanoseconds, log: log),
        loop: loops.take(), trust: loops.security.trust(for: address),
        names: loops.names.submit)
    }
  }
}
