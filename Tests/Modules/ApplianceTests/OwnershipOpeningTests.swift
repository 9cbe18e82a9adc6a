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

  @Test func `what the group has become stays while the configuration says what it said`() throws {
    try change { $0.ownership.change(to: .following) }
    #expect(try open(as: .protected) == Ownership(duty: .following, term: 1, configured: .owning))
    #expect(
      try open(as: .recovery) == Ownership(duty: .following, term: 1, configured: .following))
  }
}
