import BlockModel
import TestSupport
import Testing

@testable import Journal

/// Proves that the list of what a former owner lacks is believed only as it was written.
@Suite struct LackingListTests {
  private let list: LackingList = {
    var extents = DiskExtents()
    for number in 0..<3 {
      _ = extents.append(
        DiskExtent(DiskNumber(UInt16(number)), ByteRange(start: 4096, length: 8192)))
    }
    return LackingList(
      number: 7, group: GroupIdentifier(high: 1, low: 2),
      common: .init(SequenceNumber(12), Timestamp(rawValue: 99)),
      exactAfter: .init(.init(high: 5, low: 6), SequenceNumber(15)),
      last: .init(.init(high: 3, low: 4), SequenceNumber(20)), extents: extents)
  }()

  @Test func `what is written is read`() {
    #expect(LackingList(decoding: list.encoded()) == list)
  }

  @Test func `a list that is damaged, cut off or of another version is none`() {
    let bytes = list.encoded()
    for position in bytes.indices {
      var damaged = bytes
      damaged[position] ^= 0x10
      #expect(LackingList(decoding: damaged) == nil, "byte \(position)")
      #expect(LackingList(decoding: Array(bytes[..<position])) == nil, "\(position) bytes")
    }
  }

  @Test func `it fits disks that are as long as its ranges, and those that are not there`() {
    func disk(_ number: UInt16, _ byteCount: UInt64) -> JournalState.Disk {
      .init(number: DiskNumber(number), name: "disk\(number)", byteCount: byteCount)
    }
    #expect(list.fits([disk(0, 12288), disk(1, 12288), disk(2, 12288)]))
    #expect(list.fits([disk(0, 12288)]))
    #expect(!list.fits([disk(0, 12287)]))
  }
}
