import Foundation
import NBDProtocol
import Testing

@testable import FuzzTargets
@testable import Journal

/// Proves that the inputs of the corpus get to where they should: an input that is thrown away at
/// the door would pass every check.
@Suite struct FuzzReachTests {
  private func input(_ target: FuzzTarget, _ name: String) throws -> FuzzInput {
    let folder = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "Corpus/\(target.rawValue)")
    return FuzzInput([UInt8](try Data(contentsOf: folder.appending(path: name))))
  }

  /// Records found, sidecars believed.
  @Test(arguments: [
    ("three-segments", 15, 0), ("three-segments-with-sidecars", 15, 2),
    ("forged-sidecars", 15, 2), ("gone-back", 3, 0), ("cut-off-file", 7, 1),
  ])
  func `a folder is recovered as far as it is whole`(
    name: String, records: UInt64, sidecars: Int
  ) throws {
    var input = try input(.journal, name)
    var writer = FolderWriter(&input)
    writer.follow(&input)
    let recovery = try JournalRecovery(writer.folder, state: writer.state, cut: writer.cut)
    #expect(recovery.lastSequence.rawValue == records)
    #expect(recovery.indexedSegments.count == sidecars + (writer.cut == nil ? 0 : 1))
  }

  @Test(arguments: [("records", 15), ("compressed-records", 10)])
  func `a peer's stream is received`(name: String, records: UInt64) throws {
    var input = try input(.link, name)
    _ = input.integer(UInt16.self)
    let disks: [UInt64] = [4096, 1 << 20]
    var writer = PeerWriter(disks: disks)
    let played = try LinkPlayer.play(writer.stream(&input), disks, .whole)
    #expect(played.failure == nil)
    #expect(played.appended == records)
  }

  @Test(arguments: [
    "qemu-io-0", "nbdsh-commands-0", "linux-kernel-6.1", "fio-1", "nbdcopy-to-0", "nbdsh-oldest-0",
    "qemu-io-0-tls",
  ])
  func `a recorded client gets through the handshake`(name: String) throws {
    var input = try input(.handshake, name)
    let settings = HandshakeSettings(&input)
    let played = try HandshakePlayer.play(input.remainder()[...], settings, .whole)
    guard case .beginTransmission = played.actions.last else {
      Issue.record("\(name) ends with \(String(describing: played.actions.last))")
      return
    }
    #expect(played.actions.contains(.startTLS) == name.hasSuffix("-tls"))
  }

  @Test(arguments: [
    "qemu-io-0", "nbdsh-commands-0", "linux-kernel-6.1", "fio-1",
    "qemu-io-0-extended", "nbdsh-commands-0-extended", "linux-kernel-6.1-extended",
  ])
  func `a recorded client's requests are executed`(name: String) throws {
    var input = try input(.transmission, name)
    let settings = TransmissionSettings(&input)
    let played = try RequestPlayer.play(
      input.remainder()[...], settings.session, settings.limits, .whole)
    let executed = played.events.count { if case .execute = $0.step { true } else { false } }
    #expect(executed > 2 && executed * 10 > played.events.count * 7)
  }
}
