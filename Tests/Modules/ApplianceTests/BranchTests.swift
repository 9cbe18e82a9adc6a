import BlockModel
import Journal
import Storage
import SystemIO
import TestSupport
import Testing
import Volume

@testable import Appliance

/// Proves that what becomes of a branch is written down whoever says it.
@Suite(.scratch) struct BranchTests {
  private func branch(in folder: String) throws -> Branch {
    var generator = SystemEntropy()
    let record = BranchRecord(
      name: "x", identity: .random(using: &generator), group: .random(using: &generator),
      instant: Timestamp(rawValue: 7), created: Timestamp(rawValue: 8), expiry: nil,
      byteLimit: 1 << 20, segmentByteCount: 1 << 16, user: "", note: "", disks: [])
    let storage = try FolderStorage(path: folder)
    try SiteOverlay.createLasting(
      Branch.savedName, in: storage, identity: record.identityBytes)
    try record.write(to: folder)
    return try Branch(record, folder: folder)
  }

  @Test func `a file of the first version is a test's`() throws {
    let scratch = try ScratchDirectory()
    let branch = try branch(in: scratch.subdirectory("x"))
    var bytes = branch.record.encoded()
    // Kind, and whether it is apart.
    bytes.removeSubrange(16..<18)
    let sum = unsafe bytes[16...].withUnsafeBytes { unsafe CRC32C.standard($0) }
    var head = WireEncoder()
    head.put(UInt32(1))
    head.put(sum)
    bytes.replaceSubrange(8..<16, with: head.bytes)
    #expect(try BranchRecord(decoding: bytes) == branch.record)
    #expect(branch.record.kind == .test && !branch.record.isApart)
    bytes[11] = 3
    #expect(throws: SealedForm.Unreadable.otherVersion(3)) { try BranchRecord(decoding: bytes) }
  }

  /// Somebody stops it in the moment in which its group ends it.
  @Test func `its end is written down by several at once`() throws {
    let scratch = try ScratchDirectory()
    for round in 0..<20 {
      let branch = try branch(in: scratch.subdirectory("x\(round)"))
      let failures = Monitor<[Errno]>([])
      let threads = (0..<4).map { index in
        Thread(name: "end-\(index)") {
          do throws(Errno) {
            if index == 0 { try branch.note(inDoubt: true) } else { try branch.end("by \(index)") }
          } catch { failures.update { $0.append(error) } }
        }
      }
      for thread in threads { thread.join() }
      #expect(failures.withLock { $0 } == [])
      let read = try #require(try BranchRecord.read(from: branch.folder) { _ in })
      #expect(read == branch.record && read.ending != nil && read.isInDoubt)
      try branch.retire()
      try branch.note(inDoubt: false)
      #expect(!BranchRecord.exists(in: branch.folder))
    }
  }
}
