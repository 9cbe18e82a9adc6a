/// First in, first out, in a ring of memory that grows and is kept: once it has grown, adding and
/// taking allocate nothing. What was taken is not held on to.
@safe public struct Queue<Element>: ~Copyable {
  /// Nil as long as there was no element.
  private var memory: UnsafeMutablePointer<Element>?
  /// A power of two, or 0.
  private var capacity = 0
  private var first = 0
  public private(set) var count = 0

  public init() {}

  deinit {
    for index in 0..<count { unsafe slot(index).deinitialize(count: 1) }
    unsafe memory?.deallocate()
  }

  @inline(__always) public var isEmpty: Bool { count == 0 }

  @inline(__always)
  private func slot(_ index: Int) -> UnsafeMutablePointer<Element> {
    unsafe memory.unsafelyUnwrapped + ((first &+ index) & (capacity &- 1))
  }

  public var peek: Element? { isEmpty ? nil : unsafe slot(0).pointee }

  @inline(__always)
  public mutating func append(_ element: Element) {
    if count == capacity { grow() }
    unsafe slot(count).initialize(to: element)
    count &+= 1
  }

  @inline(__always)
  public mutating func popFirst() -> Element? {
    if isEmpty { return nil }
    let element = unsafe slot(0).move()
    first = (first &+ 1) & (capacity &- 1)
    count &-= 1
    return element
  }

  /// Keeps the order of the others.
  public mutating func removeAll(where isUnwanted: (Element) -> Bool) {
    for _ in 0..<count {
      if let element = popFirst(), !isUnwanted(element) { append(element) }
    }
  }

  public mutating func removeAll() { while popFirst() != nil {} }

  private mutating func grow() {
    let larger = max(8, capacity * 2)
    let room = UnsafeMutablePointer<Element>.allocate(capacity: larger)
    for index in 0..<count { unsafe (room + index).initialize(to: slot(index).move()) }
    unsafe memory?.deallocate()
    unsafe memory = room
    capacity = larger
    first = 0
  }
}

/// Owns its memory alone.
extension Queue: @unchecked Sendable where Element: Sendable {}
