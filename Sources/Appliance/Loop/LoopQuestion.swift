import Synchronization
import SystemIO

extension EventLoop {
  /// Asks the loop and waits for its answer; nil when it does not come in time. Any thread but a
  /// loop's.
  ///
  /// - Parameter timeoutMilliseconds: negative: as long as it takes.
  @discardableResult
  func ask<Answer: Sendable>(
    timeoutMilliseconds: Int32 = -1,
    _ question: @escaping @Sendable (@escaping @Sendable (Answer) -> Void) -> Void
  ) -> Answer? {
    let reply = Reply<Answer>()
    post { question { reply.give($0) } }
    return reply.wait(timeoutMilliseconds: timeoutMilliseconds)
  }

  /// Runs `action` on the loop, after everything that was posted before, and waits for its end. Any
  /// thread but a loop's.
  func perform(_ action: @escaping @Sendable () -> Void) {
    ask { done in
      action()
      done(())
    }
  }
}

/// One answer, handed from a loop to the thread that asked.
private final class Reply<Answer: Sendable>: Sendable {
  private let answer = Monitor<Answer?>(nil)

  func give(_ value: Answer) { answer.update { $0 = value } }

  func wait(timeoutMilliseconds: Int32) -> Answer? {
    if timeoutMilliseconds < 0 { return answer.wait { $0 } }
    return answer.wait(milliseconds: UInt64(timeoutMilliseconds)) { answer, _ in answer }
  }
}
