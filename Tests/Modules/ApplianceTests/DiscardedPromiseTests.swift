import BlockModel
import Journal
import Replication
import SystemIO
import TLS
import TestSupport
import Testing

@testable import Appliance

/// Proves that nothing is left at a recovery group of what was promised of records that an operator
/// gives up: instants of them would count as final, and their peer's records be refused.
@Suite(.scratch) struct DiscardedPromiseTests {
  /// Holds up what a lane of a group would do next.
  private final class Gate: Sendable {
    private let isOpen = Monitor(false)

    init(_ lane: WorkerPool) { lane.submit { [self] in isOpen.wait { $0 ? () : nil } } }

    func open() { isOpen.update { $0 = true } }
  }

  /// A recovery group that knows of a promise which its state file does not.
  private struct Scene {
    let host: GroupHost
    let group: Group
    let receiver: LinkReceiver
    private let listener: Socket

    init(_ scratch: ScratchDirectory) throws {
      host = try recoveryHost(scratch)
      group = try #require(host.group)
      try group.stateKeeper?.update { $0.baseline = .complete }
      listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
      let hello = LinkHello(
        site: "east", receiver: "west", groupName: "g", group: GroupIdentifier(high: 1, low: 2),
        lineage: Lineage(),
        segmentByteCount: 64 << 10, disks: [.init(name: "disk", byteCount: 1 << 20)])
      receiver = LinkReceiver(
        Transport(listener), leftover: [], hello: hello, group: group, log: ClientLog { _ in })
      host.loop.start()
      let promised = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
      perform { $0.heard(promised) }
    }

    func perform(_ action: @escaping @Sendable (Group) -> Void) {
      host.loop.perform { [group] in action(group) }
    }

    func discard() {
      perform { [receiver] in $0.cut(after: .none, isDiscarded: true, receiver) }
    }

    /// Waits until the lane has done what it was given, and the loop has heard of it.
    func wait(for lane: WorkerPool) {
      let isDone = Monitor(false)
      lane.submit { isDone.update { $0 = true } }
      isDone.wait { $0 ? () : nil }
      perform { _ in }
    }

    func expectNothingKnown() throws {
      try eventually("the group is set back") {
        perform { $0.tick() }
        return host.loop.ask { [group] done in
          done(
            !group.lifecycle.isResetting && !group.lifecycle.runs(.promise))
        } ?? false
      }
      let known = host.loop.ask { [group] done in done(group.promises.known) }
      #expect(known == .zero)
      #expect(group.stateKeeper?.state.promise.through == .zero)
    }

    func end() {
      host.release()
      host.end()
    }
  }

  @Test func `what is being written down when it is given up does not outlive it`() throws {
    let scratch = try ScratchDirectory()
    let scene = try Scene(scratch)
    defer { scene.end() }
    let gate = Gate(scene.group.lanes.files)
    defer { gate.open() }
    scene.perform { $0.noteAsked() }
    scene.discard()
    // If it does not wait, the group is set back before that is written.
    scene.wait(for: scene.group.lanes.keeper)
    gate.open()
    scene.wait(for: scene.group.lanes.files)
    try scene.expectNothingKnown()
  }

  @Test func `nothing is written down of what is being given up`() throws {
    let scratch = try ScratchDirectory()
    let scene = try Scene(scratch)
    defer { scene.end() }
    let (keeper, files) = (Gate(scene.group.lanes.keeper), Gate(scene.group.lanes.files))
    defer { for gate in [keeper, files] { gate.open() } }
    scene.discard()
    scene.perform { $0.tick() }
    scene.perform { $0.noteAsked() }
    keeper.open()
    scene.wait(for: scene.group.lanes.keeper)
    files.open()
    scene.wait(for: scene.group.lanes.files)
    try scene.expectNothingKnown()
  }
}
