import BlockModel
import Foundation
import StorageTesting
import SystemIO
import TestSupport
import Testing

@testable import Storage

/// Proves that every kind of store behaves as an array of bytes: the same random reads, writes,
/// gathered writes and zeros, of any alignment, against an array in memory; data is never reported
/// as zeros; and after a sync the bytes are what the real server or file system shows to others.
@Suite struct StoreModelTests {
  static let byteCount = 1 << 20

  enum Kind: String, CaseIterable, CustomTestStringConvertible {
    case memory, file, nbdFile, nbdMemory, nbdMinimumBlock, nbdSmallRequests, nbdNoZero
    case nbdNoExtents, nbdFUAOnly, qcow2

    var testDescription: String { rawValue }

    var isAvailable: Bool {
      switch self {
      case .memory, .file: true
      case .qcow2: Tools.have("qemu-nbd", "qemu-img")
      default: Tools.have("nbdkit")
      }
    }

    var nbdkitArguments: [String] {
      switch self {
      case .nbdMemory: ["memory", "1M"]
      case .nbdMinimumBlock:
        [
          "--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096",
          "blocksize-preferred=4096", "blocksize-maximum=64K", "blocksize-error-policy=error",
        ]
      case .nbdSmallRequests:
        [
          "--filter=blocksize-policy", "memory", "1M", "blocksize-preferred=4096",
          "blocksize-maximum=8192", "blocksize-error-policy=error",
        ]
      case .nbdNoZero: ["--filter=nozero", "memory", "1M", "zeromode=none"]
      case .nbdNoExtents: ["--filter=noextents", "memory", "1M"]
      case .nbdFUAOnly: ["--filter=fua", "memory", "1M", "fuamode=force"]
      default: []
      }
    }
  }

  static func serve(_ kind: Kind, in folder: ScratchFolder) throws -> NBDServer? {
    switch kind {
    case .memory, .file: return nil
    case .nbdFile:
      let path = try folder.makeFile("disk", byteCount: UInt64(byteCount))
      return try NBDServer.nbdkit(["file", path], in: folder)
    case .qcow2:
      Tools.run("qemu-img", "create", "-f", "qcow2", folder["disk"], "1M")
      return try NBDServer.qemuNBD(folder["disk"], format: "qcow2", in: folder)
    default: return try NBDServer.nbdkit(kind.nbdkitArguments, in: folder)
    }
  }

  @Test(arguments: Kind.allCases.filter(\.isAvailable))
  func behavesAsAnArrayOfBytes(kind: Kind) throws {
    let folder = ScratchFolder()
    let server = try Self.serve(kind, in: folder)
    let size = UInt64(Self.byteCount)
    switch kind {
    case .memory:
      _ = try Self.exercise(MemoryStore(byteCount: Self.byteCount))
    case .file:
      let store = try FileStore.open(folder["disk"], expectedSize: size, createIfMissing: true)
      let model = try Self.exercise(store)
      #expect(try contents(folder["disk"]) == model)
    default:
      var model: [UInt8] = []
      do {
        let store = try NBDStore.open(server!.uri, expectedSize: size)
        model = try Self.exercise(store)
      }
      if kind == .qcow2 {
        try server!.stop()
        Tools.run("qemu-img", "convert", "-O", "raw", folder["disk"], folder["copy"])
        #expect(try contents(folder["copy"]) == model)
      } else if Tools.have("nbdcopy"), kind != .nbdMinimumBlock, kind != .nbdSmallRequests {
        Tools.run("nbdcopy", server!.uri, folder["copy"])
        #expect(try contents(folder["copy"]) == model)
      }
    }
  }

  /// Random calls; returns what the store must hold.
  static func exercise(_ store: some BackingStore, seed: UInt64 = 7) throws -> [UInt8] {
    var model = [UInt8](repeating: 0, count: byteCount)
    var random = SeededGenerator(seed: seed)
    for step in 0..<400 {
      let start = Int.random(in: 0..<byteCount, using: &random)
      let most = min(byteCount - start, [1, 100, 5000, 70_000].randomElement(using: &random)!)
      var range = start..<start + Int.random(in: 1...most, using: &random)
      if Bool.random(using: &random) {
        range = range.lowerBound & ~4095..<min((range.upperBound + 4095) & ~4095, byteCount)
      }
      let offset = UInt64(range.lowerBound)
      switch Int.random(in: 0..<5, using: &random) {
      case 0:
        let bytes = pattern(range.count, seed: UInt64(step))
        try store.write(bytes, at: offset)
        model.replaceSubrange(range, with: bytes)
      case 1:
        let bytes = pattern(range.count, seed: UInt64(step))
        let cut = Int.random(in: 0...range.count, using: &random)
        let pieces = [cut, range.count - cut].filter { $0 > 0 }
        try store.writeGathered(bytes, pieces: pieces, at: offset)
        model.replaceSubrange(range, with: bytes)
      case 2:
        let zeros = ByteRange(start: offset, length: UInt64(range.count))
        try store.zero(zeros, mayFreeSpace: Bool.random(using: &random))
        model.replaceSubrange(range, with: repeatElement(0, count: range.count))
      case 3:
        try expectNoDataIsSkipped(store, model, range)
      default:
        #expect(try store.read(range.count, at: offset) == Array(model[range]))
      }
    }
    try store.sync()
    #expect(try store.read(byteCount, at: 0) == model)
    return model
  }

  /// Walks the range; what no data range covers must be zeros.
  static func expectNoDataIsSkipped(
    _ store: some BackingStore, _ model: [UInt8], _ range: Range<Int>
  ) throws {
    var position = UInt64(range.lowerBound)
    let limit = UInt64(range.upperBound)
    while position < limit {
      let data = try store.nextDataRange(from: position, limit: limit)
      let start = data?.start ?? limit
      #expect(start >= position && (data?.end ?? limit) <= limit)
      #expect(model[Int(position)..<Int(start)].allSatisfy { $0 == 0 })
      guard let data else { return }
      #expect(!data.isEmpty)
      position = data.end
    }
  }
}
