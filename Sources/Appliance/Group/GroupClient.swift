import BlockModel
import NBDProtocol
import Storage
import SystemIO

/// Somebody on a group's loop who reads and writes one of its disks: what the group asks of it. How
/// its requests arrive is its own affair.
///
/// A class to inherit from, not a protocol: each turn of a loop calls it, and a call costs what one
/// of a class costs. Confined to its loop's thread.
class GroupClient: EventHandler, @unchecked Sendable {
  let disk: DiskNumber
  /// Has something to finish at the end of this turn; the group's.
  final var isTouched = false
  /// A sync of a plain group's disk has failed, and no request has been answered with that yet.
  final var owedFailure: StorageError?

  init(of disk: DiskNumber) { self.disk = disk }

  /// Called once a turn, after the group's commit.
  func finishTurn() { preconditionFailure("a client must say how it finishes a turn") }

  /// The journal has room again for who waits for it.
  func roomCame() { preconditionFailure("a client must say how it goes on") }

  /// The reply to a request that had to wait for `Group.wait`. The caller sees to it that the turn
  /// is finished.
  func completeWait(_ tag: NBDRequestTag, _ failure: StorageError? = nil) {
    preconditionFailure("a client must say how it answers")
  }

  /// One request waits, for durability, and nothing else has arrived.
  var waitsForSyncOnly: Bool { false }

  /// Called about once a second, between turns.
  func giveBackIdleMemory() {}

  /// Nothing more is staged for it, and nothing that it has staged is waited for.
  func close() { preconditionFailure("a client must say how it ends") }

  // MARK: To another process

  /// No request begins from here on, until `resume`.
  func pause() { preconditionFailure("a client must say how it pauses") }
  func resume() { preconditionFailure("a client must say how it goes on") }

  /// Nothing is under way.
  var isAtRest: Bool { preconditionFailure("a client must say whether it rests") }

  /// What another process goes on with; nil when none can.
  ///
  /// - Precondition: `isAtRest`.
  func handOver(group: String, disk: String) -> HandedConnection? { nil }
}
