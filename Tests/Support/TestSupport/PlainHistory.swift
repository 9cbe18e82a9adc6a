/// A disk as a plain array of bytes together with everything done to it, one request at a time:
/// the yardstick for views.
public struct PlainHistory: Sendable {
  public enum Change: Sendable {
    case write([UInt8])
    case zero(Int)
  }

  private struct Event: Sendable {
    let offset: Int
    let change: Change
    let acknowledged: UInt64
  }

  private let base: [UInt8]
  private var events: [Event] = []

  public init(base: [UInt8]) { self.base = base }
  public init(size: Int) { self.init(base: [UInt8](repeating: 0, count: size)) }

  public var size: Int { base.count }

  /// Notes a change that has just been acknowledged.
  public mutating func append(_ change: Change, at offset: Int) {
    events.append(Event(offset: offset, change: change, acknowledged: wallClockNanoseconds()))
  }

  /// The disk at an instant between two changes; without one, after all of them.
  public func image(at instant: UInt64 = .max) -> [UInt8] {
    var image = base
    for event in events where event.acknowledged <= instant {
      switch event.change {
      case .write(let bytes):
        image.replaceSubrange(event.offset..<event.offset + bytes.count, with: bytes)
      case .zero(let count):
        image.replaceSubrange(
          event.offset..<event.offset + count, with: repeatElement(0, count: count))
      }
    }
    return image
  }

  /// Makes `count` random requests of any alignment through `client` and notes them.
  public mutating func drive(
    _ client: NBDClient, count: Int, maximumLength: Int, using generator: inout SeededGenerator
  ) throws {
    for _ in 0..<count {
      let length = Int.random(in: 1...maximumLength, using: &generator)
      let offset = Int.random(in: 0...size - length, using: &generator)
      let fua = Int.random(in: 0..<8, using: &generator) == 0
      if Int.random(in: 0..<5, using: &generator) == 0 {
        try client.zero(at: UInt64(offset), count: length, fua: fua)
        append(.zero(length), at: offset)
      } else {
        let bytes = generator.bytes(length)
        try client.write(bytes, at: UInt64(offset), fua: fua)
        append(.write(bytes), at: offset)
      }
    }
  }
}

/// Where two images first differ and how many bytes do; nil when they are equal.
public func difference(_ image: [UInt8], _ expected: [UInt8]) -> String? {
  guard image.count == expected.count else {
    return "\(image.count) bytes instead of \(expected.count)"
  }
  guard image != expected else { return nil }
  let wrong = image.indices.filter { image[$0] != expected[$0] }
  return "\(wrong.count) bytes differ, the first at \(wrong[0]): "
    + "\(image[wrong[0]]) instead of \(expected[wrong[0]])"
}
