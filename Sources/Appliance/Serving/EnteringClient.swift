import Handover
import NBDProtocol
import TLS

/// A client that has chosen its export, and what it brings along to the transmission phase.
struct EnteringClient: Sendable {
  let transport: Transport
  let place: ClientAdmission.Place
  let session: NBDSession
  let contexts: [StatusContext]
  /// What has arrived of its requests.
  let leftover: [UInt8]
  /// Where another process stopped with it.
  var handed: ConnectionState?

  /// Serves a disk as it is. On the group's loop. (`ViewLoops` serves those of views.)
  ///
  /// - Parameter changes: what the contexts look at: the connection ends when they expire, and
  ///   releases them when it ends.
  func serve(
    _ disk: GroupDisk, of group: Group, changes: OpenedChanges? = nil, _ front: FrontDesk
  ) {
    // It has left since the client has found it.
    guard group.isListed(disk.number) else {
      changes?.release()
      return transport.shutDown()
    }
    let reader = SiteReader(store: disk.store, catalog: group.journal?.catalog)
    let connection = NBDConnection(
      self, loop: group.loop, target: .live(group), disk: disk.number, reader: reader,
      workers: disk.workers, limits: front.limits,
      onClose: { _ in changes?.release() }, log: front.clientLog.note)
    changes?.onExpiry { connection.close() }
    connection.begin()
  }
}
