/// A simulated thread; see the one for Linux.
public final class Thread: @unchecked Sendable {
  public enum Priority: Sendable { case normal, background, idle }

  public static var current: UInt {
    guard let fiber = Simulation.running.currentFiber else { return 1 }
    return UInt(bitPattern: ObjectIdentifier(fiber))
  }

  private let fiber: Fiber

  public init(
    name: String, priority: Priority = .normal, _ body: @escaping @Sendable () -> Void
  ) {
    let simulation = Simulation.running
    fiber = Fiber(name, simulation.process, body)
    simulation.add(fiber)
  }

  public func detach() {}

  public func join() {
    let fiber = fiber
    _ = Simulation.running.wait(until: nil) { fiber.isDone }
  }

  public static func sleep(milliseconds: UInt64) {
    Simulation.running.sleep(nanoseconds: milliseconds * 1_000_000)
  }
}
