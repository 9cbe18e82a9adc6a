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

  @Test func `files of earlier versions are those of tests, and built on their instants`() throws {
    let scratch = try ScratchDirectory()
    let record = try branch(in: scratch.subdirectory("x")).record
    #expect(record.kind == .test && !record.isApart && record.base == record.instant)
    let sealed = { (version: UInt32, body: ArraySlice<UInt8>) in
      SealedForm(magic: 0x5441_504C_4252_414E, version: version).seal(Array(body))
    }
    let body = record.encoded()[16...]
    #expect(try BranchRecord(decoding: sealed(3, body)) == record)
    // What it is built on comes last; kind, and whether it is apart, first.
    #expect(try BranchRecord(decoding: sealed(2, body.dropLast(8))) == record)
    #expect(try BranchRecord(decoding: sealed(1, body.dropLast(8).dropFirst(2))) == record)
    #expect(throws: SealedForm.Unreadable.otherVersion(4)) {
      try BranchRecord(decoding: sealed(4, body))
    }
  }

  @Test func `what is parked says what it is built on`() throws {
    let scratch = try ScratchDirectory()
    var record = try branch(in: scratch.subdirectory("x")).record
    record.kind = .parked
    record.base = Timestamp(rawValue: 5)
    #expect(try BranchRecord(decoding: record.encoded()) == record)
    #expect(record.isBuiltOn(after: Timestamp(rawValue: 4)))
    #expect(!record.isBuiltOn(after: Timestamp(rawValue: 5)))
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
