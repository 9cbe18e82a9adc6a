import BlockModel
import Configuration
import Replication
import SystemIO

/// A peer that has not said yet which group it sends. Confined to the thread of its door's loop.
final class LinkGreeter: EventHandler, @unchecked Sendable {
  private let socket: Socket
  private let door: LinkDoor
  private var input: [UInt8] = []
  private var isClosed = false
  let startNanoseconds = SystemClock.monotonicNanoseconds()

  init(socket: Socket, door: LinkDoor) {
    self.socket = socket
    self.door = door
  }

  func begin() {
    do throws(Errno) { try door.loop.add(self, socket, .readable) } catch { close() }
  }

  override func ready(_ interest: Poller.Interest) {
    let arrived: [UInt8]?
    do throws(Errno) { arrived = try socket.receive(limit: 16 << 10) } catch { return close() }
    guard let piece = arrived else { return }
    if piece.isEmpty { return close() }
    input += piece
    guard input.count >= LinkFrame.byteCount else { return }
    let parsed = unsafe input.withUnsafeBytes { buffer in
      unsafe buffer.baseAddress.flatMap { unsafe LinkFrame(parsing: $0) }
    }
    guard let frame = parsed, frame.kind == .hello else {
      door.log.note("link: a peer sent something that is not a hello")
      return close()
    }
    let end = LinkFrame.byteCount + frame.bodyByteCount
    if input.count >= end { greet(Array(input[LinkFrame.byteCount..<end]), rest: end) }
  }

  private func greet(_ body: [UInt8], rest: Int) {
    do throws(LinkError) {
      let hello = try LinkHello(decoding: body)
      guard ([hello.site] + hello.disks.map(\.name)).allSatisfy(EntityName.isValid) else {
        throw .protocolViolation("hello has a name that no site or disk can have")
      }
      // Before the group hears of it: it would give up the connection that it has.
      guard hello.receiver == door.site else {
        throw .unacceptable(
          "this is site \(door.site), and \(hello.receiver.quotedForMessage) is meant: correct the "
            + "'address' of that peer at \(hello.site), or the name under which it has this site")
      }
      let group = try door.group(named: hello.groupName)
      let leftover = Array(input[rest...])
      let (socket, log) = (self.socket, door.log)
      door.loop.remove(self, socket)
      door.forget(self)
      isClosed = true
      group.loop.post {
        LinkReceiver(socket: socket, leftover: leftover, hello: hello, group: group, log: log)
          .begin()
      }
    } catch {
      door.log.note("link: \(error)")
      let reason = Array("\(error)".utf8)
      let frame = LinkFrame(.refused, bodyByteCount: reason.count).encoded + reason
      _ = unsafe frame.withUnsafeBytes { try? unsafe socket.send($0) }
      close()
    }
  }

  func close() {
    if isClosed { return }
    isClosed = true
    door.loop.remove(self, socket)
    door.forget(self)
    socket.shutDown()
  }
}
