import BlockModel
import Foundation
import SystemIO
import Testing

@testable import Storage

/// Proves that a store takes a greater size while it is open: a raw file is extended, everything
/// else must be as large already; nothing passes the old end before the size is adopted, nothing
/// is refused after it, and what was written before is durable all the same.
struct GrowingStoreTests {
  private static let old: UInt64 = 1 << 20
  private static let new: UInt64 = 3 << 20

  let folder = ScratchFolder()

  private func growthError(_ store: DiskStore, to configured: UInt64?) -> StorageError? {
    do throws(StorageError) {
      _ = try store.possibleByteCount(configured: configured)
      return nil
    } catch { return error }
  }

  /// The store has the old size and `Self.new` is possible: it is adopted, and used to its end.
  private func expectGrowth(_ store: DiskStore) throws {
    try store.write(pattern(4096), at: Self.old - 4096)
    #expect(try store.possibleByteCount(configured: Self.new) == Self.new)
    _ = try store.extend(to: Self.new)
    #expect(store.byteCount == Self.old)
    #expect(throws: StorageError.self) { try store.write(pattern(512), at: Self.old) }
    store.adopt(byteCount: Self.new)
    #expect(store.byteCount == Self.new)
    #expect(try store.read(4096, at: Self.old - 4096) == pattern(4096))
    #expect(try store.read(4096, at: Self.new - 4096).allSatisfy { $0 == 0 })
    try store.write(pattern(8192, seed: 2), at: Self.old - 4096)
    try store.zero(ByteRange(start: Self.old, end: Self.new), mayFreeSpace: true)
    try store.write(pattern(512, seed: 3), at: Self.new - 512)
    try store.sync()
    #expect(try store.read(512, at: Self.new - 512) == pattern(512, seed: 3))
    #expect(try store.read(4096, at: Self.old - 4096) == Array(pattern(8192, seed: 2)[..<4096]))
    #expect(try store.nextDataRange(from: Self.new - 1, limit: Self.new) != nil)
    #expect(throws: StorageError.self) { try store.write(pattern(512), at: Self.new) }
  }

  // MARK: Files

  private func openFile() throws -> DiskStore {
    let path = try folder.makeFile("disk", byteCount: Self.old)
    return try DiskStore.open(.path(path), expectedSize: Self.old)
  }

  @Test func aRawFileIsExtended() throws {
    try expectGrowth(openFile())
    #expect(try contents(folder["disk"]).count == Int(Self.new))
  }

  @Test func aRawFileThatIsAsLargeAlreadyIsTaken() throws {
    let store = try openFile()
    #expect(unsafe truncate(folder["disk"], Int(Self.new)) == 0)
    #expect(try store.possibleByteCount(configured: nil) == Self.new)
    try expectGrowth(store)
  }

  @Test func aLargerRawFileIsRefused() throws {
    let store = try openFile()
    #expect(unsafe truncate(folder["disk"], Int(Self.new)) == 0)
    #expect(
      growthError(store, to: Self.new - 512)
        == .sizeDisagrees(
          store: folder["disk"], byteCount: Self.new, expected: Self.new - 512))
  }

  @Test func anExtensionCanBeTakenBack() throws {
    let store = try openFile()
    try store.write(pattern(512), at: Self.old - 512)
    let change = try store.extend(to: Self.new)
    try store.takeBack(change)
    #expect(try contents(folder["disk"]).count == Int(Self.old))
    #expect(try store.read(512, at: Self.old - 512) == pattern(512))
    try expectGrowth(store)
  }

  @Test func aSizeBeyondTheFileSystemIsAnError() throws {
    let store = try openFile()
    #expect(throws: StorageError.self) { try store.extend(to: UInt64(Int64.max)) }
    #expect(try contents(folder["disk"]).count == Int(Self.old))
  }

  struct Opening: CustomTestStringConvertible, Sendable {
    var testDescription: String { "a disk of \(known) in a file of \(file), wanted \(wanted)" }
    let known: UInt64
    let file: UInt64
    let wanted: UInt64
    let isTaken: Bool
  }

  /// At the start of a site: only a file that still has all of the disk is made larger.
  @Test(arguments: [
    Opening(known: 4096, file: 4096, wanted: 8192, isTaken: true),
    Opening(known: 4096, file: 6000, wanted: 8192, isTaken: true),
    Opening(known: 4096, file: 8192, wanted: 8192, isTaken: true),
    Opening(known: 4096, file: 4095, wanted: 8192, isTaken: false),
    Opening(known: 8192, file: 4096, wanted: 8192, isTaken: false),
    Opening(known: 4096, file: 9000, wanted: 8192, isTaken: false),
    Opening(known: 8192, file: 8192, wanted: 4096, isTaken: false),
  ])
  func aFileIsExtendedWhenItIsOpened(opening: Opening) throws {
    let path = try folder.makeFile("disk", byteCount: opening.file)
    let store = try? FileStore.open(
      path, expectedSize: opening.wanted, growsFrom: opening.known)
    #expect((store != nil) == opening.isTaken)
    #expect(
      try contents(path).count == (opening.isTaken ? Int(opening.wanted) : Int(opening.file)))
  }

  // MARK: Devices

  @Test(.enabled(if: DeviceTests.hasLoop, "needs root and losetup(8)"))
  func aDeviceMustBeAsLargeAlready() throws {
    let file = try folder.makeFile("device", byteCount: Self.old)
    let device = try #require(DeviceTests.LoopDevice(file))
    let store = try DiskStore.open(.path(device.path), expectedSize: Self.old)
    #expect(
      growthError(store, to: Self.new)
        == .sizeDisagrees(store: device.path, byteCount: Self.old, expected: Self.new))
    #expect(unsafe truncate(file, Int(Self.new)) == 0)
    #expect(Tools.run("losetup", "--set-capacity", device.path) != nil)
    try expectGrowth(store)
  }

  // MARK: Servers

  @Test(.enabled(if: Tools.have("nbdkit"), "needs nbdkit"))
  func aServerMustBeAsLargeAlready() throws {
    let file = try folder.makeFile("disk", byteCount: Self.old)
    let server = try NBDServer.nbdkit(["file", file], in: folder)
    let store = try DiskStore.open(.nbd(uri: server.uri), expectedSize: Self.old)
    guard case .nbd(let nbd) = store else { throw TestFailure("no NBD store") }
    try #require(nbd.connectionCount > 1)
    #expect(
      growthError(store, to: Self.new)
        == .sizeDisagrees(store: server.uri, byteCount: Self.old, expected: Self.new))
    #expect(unsafe truncate(file, Int(Self.new)) == 0)
    try expectGrowth(store)
  }

  /// As qemu-nbd without `--shared` does, and as servers that learn a size only when they start.
  @Test(.enabled(if: Tools.have("qemu-nbd"), "needs qemu-nbd"))
  func aServerThatIsStartedAnewLargerIsTaken() throws {
    let file = try folder.makeFile("disk", byteCount: Self.old)
    let server = try NBDServer.qemuNBD(file, format: "raw", in: folder)
    let store = try DiskStore.open(.nbd(uri: server.uri), expectedSize: Self.old)
    try store.write(pattern(512), at: 0)
    try store.sync()
    try server.stop()
    #expect(unsafe truncate(file, Int(Self.new)) == 0)
    try server.start()
    // Nothing is said of the size yet: the disk goes on as it was.
    #expect(try store.read(512, at: 0) == pattern(512))
    #expect(throws: StorageError.self) { try store.read(512, at: Self.old) }
    try expectGrowth(store)
  }

  @Test(.enabled(if: Tools.have("nbdkit"), "needs nbdkit"))
  func aServerThatTakesOneClientIsAskedOverItsConnection() throws {
    let file = try folder.makeFile("disk", byteCount: Self.old)
    let server = try NBDServer.nbdkit(
      [
        "--filter=limit", "--filter=multi-conn", "file", file, "limit=1", "multi-conn-mode=disable",
      ],
      in: folder)
    let store = try DiskStore.open(.nbd(uri: server.uri), expectedSize: Self.old)
    #expect(unsafe truncate(file, Int(Self.new)) == 0)
    try expectGrowth(store)
  }
}
