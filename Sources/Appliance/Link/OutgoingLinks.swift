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
    guard let journal, let state = stateKeeper?.state else { return [] }
    let peers = GroupOpening.receivers(configuration, duty)
    return zip(followers.all, peers).compactMap { follower, peer in
      guard let address = peer.address else { return nil }
      let hello = LinkHello(
        site: site, receiver: peer.site, groupName: configuration.name, group: state.group,
        lineage: state.lineage, segmentByteCount: UInt32(journal.options.segmentByteCount),
        disks: [])
      return LinkSender(
        .init(
          endpoint: SocketEndpoint(address), hello: hello, catalog: journal.catalog,
          watermarks: journal.watermarks, reporter: follower.reporter, disks: sentDisks,
          clock: SystemClock.monotonicNanoseconds, log: log),
        loop: loops.take(), names: loops.names.submit)
    }
  }
}
