import BlockModel
import Configuration
import Handover
import NBDProtocol
import SystemIO
import TLS

/// Goes on with connections that another process has served so far. What the client negotiated
/// stays; what it may do is judged by this process's configuration.
struct ConnectionAdoption {
  let front: FrontDesk

  /// Before anything else is posted to the loops, so that apply cannot pass the instant of a view.
  func openViews(_ connections: [(state: ConnectionState, socket: Socket)]) {
    for (state, socket) in connections {
      guard let instant = state.instant, let (group, disk) = place(state, socket) else { continue }
      let front = front
      group.loop.post {
        group.openView(.at(Timestamp(rawValue: instant))) { result in
          front.loop.post { viewOpened(result, state, socket, disk, front) }
        }
      }
    }
  }

  /// After the groups have begun.
  func serveDisks(_ connections: [(state: ConnectionState, socket: Socket)]) {
    for (state, socket) in connections where state.instant == nil {
      guard let (group, disk) = place(state, socket),
        let client = admit(state, socket, to: disk, front)
      else { continue }
      group.loop.post { [front] in client.serve(disk, of: group, front) }
    }
  }

  private func place(_ state: ConnectionState, _ socket: Socket) -> (Group, GroupDisk)? {
    guard let (group, disk) = front.catalog.openDisk(named: state.disk) else { return nil }
    guard let obstacle = obstacle(state, socket, group, disk) else { return (group, disk) }
    front.log("a client of \(state.session.export.name) must connect again: \(obstacle)")
    socket.shutDown()
    return nil
  }

  /// Why the client must connect again; nil when it need not.
  private func obstacle(
    _ state: ConnectionState, _ socket: Socket, _ group: Group, _ disk: GroupDisk
  ) -> String? {
    let session = state.session
    if session.contexts.contains(where: { $0.name != ContextQuery.allocationName }) {
      return "it looks at changed blocks"
    }
    if session.export.sizeBytes > disk.store.byteCount { return "the disk is smaller now" }
    let isLive = state.instant == nil
    if isLive, !group.isLive { return "the disk is a recovery copy" }
    let user = socket.peerUser
    switch group.access(to: disk, for: ClientIdentity(user: user?.user, group: user?.group)) {
    case .readWrite: return nil
    case .readOnly: return session.export.isReadOnly ? nil : "it may only read now"
    case .none: return "it may not open the disk any more"
    }
  }
}

/// Nil when there are too many clients; this one is cut off then.
private func admit(
  _ state: ConnectionState, _ socket: Socket, to disk: GroupDisk, _ front: FrontDesk
) -> EnteringClient? {
  do throws(ClientAdmission.Refusal) {
    return EnteringClient(
      transport: Transport(socket), place: try front.admission.admit(to: disk.name),
      session: state.session,
      contexts: state.session.contexts.map {
        StatusContext(identifier: $0.identifier, source: .allocation)
      },
      leftover: state.input, handed: state)
  } catch {
    front.log("a client of \(state.session.export.name) must connect again: \(error.message)")
    socket.shutDown()
    return nil
  }
}

/// On the front loop.
private func viewOpened(
  _ result: Result<OpenedView, ExportRefusal>, _ state: ConnectionState, _ socket: Socket,
  _ disk: GroupDisk, _ front: FrontDesk
) {
  switch result {
  case .failure(let refusal):
    front.log(
      "a client of \(state.session.export.name) must connect again: \(refusal.message)")
    socket.shutDown()
  case .success(let opened):
    guard let client = admit(state, socket, to: disk, front) else { return opened.release() }
    guard opened.disk(named: disk.name) != nil else { return opened.release() }
    front.serve(client, named: disk.name, of: opened)
  }
}
