import CFiber
import Glibc

/// A simulated thread: a stack of its own on the one real thread.
@safe final class Fiber {
  let name: String
  let process: Process
  let body: () -> Void
  let context: UnsafeMutableRawPointer
  private let stack: UnsafeMutableRawPointer

  /// While it waits: what for.
  var condition: (() -> Bool)?
  var deadline: UInt64?
  var isWaiting = false
  var isDone = false

  private static let stackByteCount = 512 << 10
  /// Of fibers that have ended: their pages need not be made again.
  nonisolated(unsafe) private static var freeStacks: [UnsafeMutableRawPointer] = unsafe []

  init(_ name: String, _ process: Process, _ body: @escaping () -> Void) {
    self.name = name
    self.process = process
    self.body = body
    unsafe context = .allocate(byteCount: fiber_context_size(), alignment: 64)
    unsafe stack = Self.freeStacks.popLast() ?? (unsafe Self.makeStack())
    unsafe fiber_make(context, stack, Self.stackByteCount) { Fiber.start() }
  }

  deinit {
    unsafe context.deallocate()
    unsafe Self.freeStacks.append(stack)
  }

  private static func makeStack() -> UnsafeMutableRawPointer {
    let memory = unsafe mmap(
      nil, stackByteCount, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {
      fatalError("no memory for a fiber")
    }
    // Overrunning the stack is caught.
    unsafe mprotect(memory, 4096, PROT_NONE)
    return unsafe memory
  }

  /// The first thing on the new stack.
  private static func start() {
    let simulation = Simulation.running
    simulation.currentFiber?.body()
    simulation.endFiber()
  }
}
