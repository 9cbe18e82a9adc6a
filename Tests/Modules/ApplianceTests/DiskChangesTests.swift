import BlockModel
import Journal
import Synchronization
import Testing

@testable import Appliance

/// Proves that the list of the configuration, read again, takes back removals as long as no marker
/// of them is in the order, that whoever waits for them is answered, and that a change which takes
/// long is told of.
@Suite struct DiskChangesTests {
  private let answers = Answers()

  private final class Answers: Sendable {
    private let names = Mutex<[String]>([])
    var all: [String] { names.withLock { $0 } }
    func add(_ name: String) { names.withLock { $0.append(name) } }
  }

  private func wish(_ event: DiskChange.Event, _ name: String) -> DiskChanges.Wish {
    DiskChanges.Wish(event: event, name: name, done: { [answers] in answers.add(name) })
  }

  @Test func `removals that wait are taken back by name`() {
    var changes = DiskChanges()
    changes.waiting = [wish(.removed, "a"), wish(.added, "b"), wish(.removed, "c")]
    #expect(changes.takeBackRemovals(of: ["a", "b"]).isEmpty)
    #expect(changes.waiting.map(\.name) == ["b", "c"])
    #expect(answers.all == ["a"])
  }

  @Test func `a change that takes long says what it waits for`() {
    var changes = DiskChanges()
    #expect(changes.waitText(now: 60_000_000_000) == nil)
    changes.current = wish(.removed, "a")
    changes.begun = 1_000_000_000
    changes.step = .stamp
    #expect(changes.waitText(now: 5_999_999_999) == nil)
    let found = changes.waitText(now: 6_000_000_000)
    #expect(found?.disk == "a")
    #expect(found?.text == "disk a is not removed yet: the journal has no room for its marker")
  }

  @Test(arguments: [
    (DiskChanges.Step.note, true), (.stamp, true),
    (.durable(.init(SequenceNumber(7), .zero)), false),
    (.settle(.init(SequenceNumber(7), .zero)), false),
  ])
  func `one is taken back until its marker is stamped`(step: DiskChanges.Step, isTaken: Bool) {
    var changes = DiskChanges()
    changes.current = wish(.removed, "a")
    changes.step = step
    #expect(changes.takeBackRemovals(of: ["a"]) == (isTaken ? [] : ["a"]))
    #expect((changes.current == nil) == isTaken)
    #expect(answers.all == (isTaken ? ["a"] : []))
    changes.current = wish(.added, "b")
    #expect(changes.takeBackRemovals(of: ["b"]).isEmpty)
    #expect(changes.current != nil)
  }
}
