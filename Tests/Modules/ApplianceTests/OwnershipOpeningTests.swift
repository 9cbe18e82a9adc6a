import BlockModel
import Configuration
import Journal
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that a group does what its state file says, and that the configuration decides only for a
/// new group, and where its role was changed.
@Suite(.scratch) struct OwnershipOpeningTests {
  private let scratch: ScratchDirectory
  private let configuration: GroupConfiguration

  init() throws {
    scratch = try ScratchDirectory()
    let host = try protectedHost(scratch)
    configuration = host.configuration
    try host.serve()
    host.end()
  }

  private func open(as role: GroupRole) throws -> Ownership? {
    var configuration = configuration
    configuration.role = role
    let parts = try GroupOpening.open(
      configuration, dataDirectory: scratch.file("data"), origin: nil, IndexMemory()
    ) { _ in }
    let ownership = parts.stateKeeper?.state.ownership
    #expect(parts.duty == ownership?.duty)
    // As serving begins.
    try parts.stateKeeper?.update { _ in }
    return ownership
  }

  private func change(_ change: (inout JournalState) -> Void) throws {
    let file = JournalStateFile(try File(opening: scratch.file("data/g/state"), .readWrite))
    guard case .state(var state, let generation) = try file.read() else {
      Issue.record("no state")
      return
    }
    change(&state)
    try file.write(state, generation: generation + 1)
  }

  @Test func `a changed role is an order, and a new owner has a new term`() throws {
    #expect(try open(as: .protected) == Ownership(beginning: .owning))
    #expect(
      try open(as: .recovery) == Ownership(duty: .following, term: 1, configured: .following))
    #expect(try open(as: .protected) == Ownership(duty: .owning, term: 2, configured: .owning))
  }

  /// Else the next owner, which lacks records, takes them for lost in a power cut, and has them
  /// dropped; and what the former one had reserved stands against the records of the next.
  @Test func `an owner that is to follow keeps what it has, and is bound by no reservation`() throws
  {
    let host = try protectedHost(scratch)
    try host.serve()
    let group = try #require(host.group)
    #expect(group.loop.ask { $0(group.writeCheckpoint(tag: "mine") != nil) } == true)
    host.end()
    let reserved = Timestamp(rawValue: .max)
    try change { $0.promise = Promise(given: reserved) }
    func state(as role: GroupRole) throws -> JournalState {
      _ = try open(as: role)
      var found: JournalState?
      try change { found = $0 }
      return try #require(found)
    }
    let following = try state(as: .recovery)
    #expect(following.ownerDurable.sequence == SequenceNumber(1))
    #expect(following.ownerDurable.incarnation == following.lineage.newest?.identifier)
    #expect(following.promise.through == .zero)
    #expect(try state(as: .recovery).ownerDurable == following.ownerDurable)
    #expect(try state(as: .protected).ownerDurable == .unknown)
  }

  /// A crash may come between the two, and the next start have the disk in its list again.
  @Test func `a disk whose marker is in the order has left, though that was not noted`() throws {
    let host = try protectedHost(scratch)
    try host.serve()
    let group = try #require(host.group)
    let isThere = group.loop.ask { done in
      let change = DiskChange(.removed, .init(name: "disk", byteCount: 1 << 20))
      let payload = change.payload
      var memory = [UInt8](repeating: 0, count: RecordHeader.byteCount) + payload
      unsafe memory.withUnsafeMutableBytes { bytes in
        guard let record = bytes.baseAddress else { return }
        try? unsafe group.tap?.disk(
          change.number, payloadByteCount: UInt32(payload.count), now: group.readClock(),
          record: record)
        done(group.commit())
      }
    }
    #expect(isThere == true)
    host.end()
    try change {
      #expect($0.disks[0].removed == nil)
      ($0.isClean, $0.applied, $0.applyTarget) = (false, .origin, .origin)
    }
    _ = try open(as: .protected)
    try change { #expect($0.disks[0].removed != nil) }
  }

  /// The next owner gives its number to a disk of its own, of which a marker comes.
  @Test func `a disk that was about to come is not in the group of an owner that is to follow`()
    throws
  {
    try change {
      $0.disks.append(
        .init(number: DiskNumber(1), name: "new", byteCount: 4096, added: nil, whole: nil))
      $0.nextDisk = 2
    }
    _ = try open(as: .recovery)
    try change {
      #expect($0.disks.map(\.name) == ["disk"])
      #expect($0.nextDisk == 2)
    }
  }

  @Test func `what the group has become stays while the configuration says what it said`() throws {
    try change { $0.ownership.change(to: .following) }
    #expect(try open(as: .protected) == Ownership(duty: .following, term: 1, configured: .owning))
    #expect(
      try open(as: .recovery) == Ownership(duty: .following, term: 1, configured: .following))
  }
}
