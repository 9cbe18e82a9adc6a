import SystemIO
import Testing

/// Proves that the queue is first in, first out through every growth and turn of its ring, and that
/// it holds on to nothing that was taken.
@Suite struct QueueTests {
  private final class Item {
    let number: Int
    init(_ number: Int) { self.number = number }
  }

  @Test func `it does what an array does`() {
    var generator = SystemRandomNumberGenerator()
    var queue = Queue<Int>()
    var model: [Int] = []
    for number in 0..<20_000 {
      switch Int.random(in: 0..<100, using: &generator) {
      // Longer and shorter by turns, so that the ring is met at every position.
      case ..<(number / 2000 % 2 == 0 ? 60 : 40):
        queue.append(number)
        model.append(number)
      case 99:
        let divisor = Int.random(in: 1...4, using: &generator)
        queue.removeAll { $0 % divisor == 0 }
        model.removeAll { $0 % divisor == 0 }
      default:
        let expected = model.isEmpty ? nil : model.removeFirst()
        #expect(queue.peek == expected)
        #expect(queue.popFirst() == expected)
      }
      #expect(queue.count == model.count)
      #expect(queue.isEmpty == model.isEmpty)
    }
    queue.removeAll()
    #expect(queue.popFirst() == nil)
  }

  @Test func `what was taken or removed is let go, and the rest with the queue`() {
    weak var taken: Item?
    weak var removed: Item?
    weak var left: Item?
    do {
      var queue = Queue<Item>()
      for number in 0..<3 { queue.append(Item(number)) }
      taken = queue.popFirst()
      #expect(taken == nil)
      removed = queue.peek
      queue.removeAll { $0.number == 1 }
      #expect(removed == nil)
      left = queue.peek
      #expect(left?.number == 2)
    }
    #expect(left == nil)
  }
}
