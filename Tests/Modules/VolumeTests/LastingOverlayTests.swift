import BlockModel
import Journal
import JournalTestSupport
import SystemIO
import TestSupport
import Testing
import Volume

/// What apply saves for a branch outlives a crash, and what may not have been saved is not served.
@Suite struct LastingOverlayTests {
  typealias Overlay = SavedExtents<FaultyFile>

  let storage = FaultyStorage(seed: 1)
  let identity = [UInt8](repeating: 7, count: 16)

  init() throws {
    try Overlay.createLasting("saved", in: storage, identity: identity)
  }

  func open(byteLimit: UInt64 = 1 << 20) throws -> Overlay {
    try Overlay(
      lasting: try storage.open("saved"), identity: identity, diskCount: 1,
      budget: ScratchBudget(byteLimit: byteLimit))
  }

  @Test func `what was settled is there after a power cut`() throws {
    let overlay = try open()
    try overlay.store([1, 2, 3], disk: 0, at: 100)
    try overlay.storeZeros(disk: DiskNumber(0), ByteRange(start: 0, length: 2))
    try overlay.settle()
    storage.crash()
    let found = try open().contents(disk: 0, count: 104)
    #expect(found[0] == 0 && found[1] == 0 && found[2] == nil)
    #expect(found[100...] == [1, 2, 3, nil])
  }

  @Test func `an entry whose bytes are torn is not there`() throws {
    let overlay = try open()
    try overlay.store([1, 2, 3], disk: 0, at: 0)
    try overlay.settle()
    try overlay.store([4, 5, 6], disk: 0, at: 3)
    let file = try storage.open("saved")
    file.damage(file.bytes.count - 1) { $0 ^ 1 }
    #expect(try open().contents(disk: 0, count: 6) == [1, 2, 3, nil, nil, nil])
  }

  @Test func `a sync after one that has failed does not vouch for what that one lost`() throws {
    let overlay = try open()
    try overlay.store([1, 2, 3], disk: 0, at: 0)
    storage.faults.fail(.sync, with: .io)
    #expect(throws: VolumeError.self) { try overlay.settle() }
    #expect(throws: VolumeError.self) { try overlay.settle() }
  }

  @Test func `a loss is known after a start, and must be noted as long as it would not be`() throws {
    let overlay = try open()
    storage.faults.fail(.sync, with: .io)
    #expect(throws: VolumeError.self) { try overlay.giveUpForGood(.scratchFull(byteLimit: 1)) }
    #expect(!overlay.isLost)
    overlay.giveUp(.scratchFull(byteLimit: 1))
    #expect(overlay.isLost && overlay.mustNoteLoss)
    try overlay.giveUpForGood(.scratchFull(byteLimit: 1))
    #expect(!overlay.mustNoteLoss)
    storage.crash()
    #expect(try open().isLost)
  }
}
