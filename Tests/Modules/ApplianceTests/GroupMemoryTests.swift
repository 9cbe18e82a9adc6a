import BlockModel
import Testing

@testable import Appliance

/// Proves that what clients were told of and a group lacks is told to each disk's client, however
/// often the group fails, and whichever process opens it next.
@Suite struct GroupMemoryTests {
  private let disks = [DiskNumber(0), DiskNumber(1)]

  /// Of a group of two disks that was open with `loss` and had `acknowledged` records.
  private func memory(_ acknowledged: UInt64, _ loss: AcknowledgedLoss? = nil) -> GroupMemory {
    GroupMemory(acknowledged: SequenceNumber(acknowledged), loss: loss)
  }

  private func loss(_ memory: GroupMemory, keeping kept: UInt64) -> AcknowledgedLoss? {
    memory.loss(keeping: SequenceNumber(kept), diskCount: disks.count)
  }

  /// By disk: whether the client that asks next hears of it.
  private func told(_ loss: inout AcknowledgedLoss) -> [Bool] {
    var told: [Bool] = []
    for disk in disks { told.append(loss.tell(disk)) }
    return told
  }

  @Test func `nothing is lost when the order ends where it did`() {
    #expect(loss(memory(10), keeping: 10) == nil)
    #expect(loss(GroupMemory(), keeping: 5) == nil)
  }

  @Test func `a client of each disk hears of a loss, once`() throws {
    var lost = try #require(loss(memory(10), keeping: 7))
    #expect(lost.first.rawValue == 8 && lost.last.rawValue == 10)
    #expect(told(&lost) == [true, true])
    #expect(told(&lost) == [false, false])
  }

  @Test func `who has not heard of a loss hears of it after the next failure`() throws {
    var first = try #require(loss(memory(10), keeping: 7))
    _ = first.tell(disks[0])
    var second = try #require(loss(memory(9, first), keeping: 9))
    #expect(told(&second) == [false, true])
    #expect(second.first.rawValue == 8 && second.last.rawValue == 10)
  }

  @Test func `a further loss is told to all, with what not all have heard`() throws {
    var first = try #require(loss(memory(10), keeping: 7))
    _ = first.tell(disks[0])
    var second = try #require(loss(memory(30, first), keeping: 20))
    #expect(second.first.rawValue == 8 && second.last.rawValue == 30)
    #expect(told(&second) == [true, true])
    let third = try #require(loss(memory(50, second), keeping: 49))
    #expect(third.first.rawValue == 50 && third.last.rawValue == 50)
  }

  @Test(arguments: [[], [true], [true, true, true]])
  func `everybody hears of a loss of which another process counts the disks wrongly`(
    isTold: [Bool]
  ) throws {
    let wrong = AcknowledgedLoss(first: .init(8), last: .init(10), isTold: isTold)
    var lost = try #require(loss(memory(9, wrong), keeping: 9))
    #expect(told(&lost) == [true, true])
    #expect(told(&lost) == [false, false])
    var more = try #require(loss(memory(9, wrong), keeping: 7))
    #expect(told(&more) == [true, true])
  }

  @Test func `another process knows what this one knew`() throws {
    var lost = try #require(loss(memory(10), keeping: 7))
    _ = lost.tell(disks[1])
    var memory = self.memory(9, lost)
    memory.identifier = .init(high: 1, low: 2)
    #expect(GroupMemory(memory.handed("g", isOpen: false)) == memory)
    #expect(GroupMemory(GroupMemory().handed("g", isOpen: false)) == GroupMemory())
  }
}
