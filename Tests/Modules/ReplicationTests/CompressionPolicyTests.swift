import Replication
import Testing

/// Proves that the link compresses when `(1 − ratio) / rate > 1 / speed` and only then, but for
/// trials, and that it needs a measured link for either.
struct CompressionPolicyTests {
  private static let chunk = 1 << 20
  private static let trialInterval = 64

  /// As measured over so many chunks that nothing earlier counts.
  private static func policy(
    rate: Double, ratio: Double, speed: Double
  ) -> CompressionPolicy {
    var policy = CompressionPolicy()
    policy.noteLink(rate)
    policy.noteCompressor(ratio: ratio, speed: speed)
    return policy
  }

  @Test func `an unmeasured link is never compressed, not even to try`() {
    var policy = CompressionPolicy()
    policy.noteCompressor(ratio: 0.01, speed: 5e9)
    #expect(policy.decisions(10 * Self.trialInterval).allSatisfy { !$0 })
  }

  struct Case: CustomTestStringConvertible, Sendable {
    let rate: Double
    let ratio: Double
    let speed: Double
    let compresses: Bool
    init(_ rate: Double, _ ratio: Double, _ speed: Double, _ compresses: Bool) {
      self.rate = rate
      self.ratio = ratio
      self.speed = speed
      self.compresses = compresses
    }
    var testDescription: String { "link \(rate) B/s, ratio \(ratio), compressor \(speed) B/s" }
  }

  static let cases = [
    // A slow link: everything that shrinks a little pays.
    Case(1e6, 0.5, 400e6, true), Case(1e6, 0.99, 400e6, true), Case(1e6, 0.999, 400e6, false),
    Case(1e6, 1, 400e6, false), Case(1e6, 1.004, 400e6, false),
    // 1 Gbit/s.
    Case(125e6, 0.5, 400e6, true), Case(125e6, 0.65, 400e6, true),
    Case(125e6, 0.75, 400e6, false), Case(125e6, 0.5, 200e6, false),
    // 10 Gbit/s and a loopback.
    Case(1.25e9, 0.1, 400e6, false), Case(1.25e9, 0.1, 2e9, true), Case(5e9, 0.01, 2e9, false),
  ]

  @Test(arguments: cases) func `compressing follows the formula`(given: Case) {
    var policy = Self.policy(rate: given.rate, ratio: given.ratio, speed: given.speed)
    // Fewer than lead to a trial.
    let decisions = policy.decisions(Self.trialInterval - 1)
    #expect(decisions.allSatisfy { $0 == given.compresses })
    #expect(((1 - given.ratio) / given.rate > 1 / given.speed) == given.compresses)
  }

  @Test func `compressing goes off when the data becomes random and on when it shrinks again`() {
    var policy = Self.policy(rate: 10e6, ratio: 0.3, speed: 400e6)
    #expect(policy.decisions(1) == [true])
    policy.noteCompressor(ratio: 1.004, speed: 400e6)
    #expect(policy.decisions(1) == [false])
    policy.noteCompressor(ratio: 0.3, speed: 400e6)
    #expect(policy.decisions(1) == [true])
  }

  @Test func `compressing goes off when the link becomes fast`() {
    var policy = Self.policy(rate: 10e6, ratio: 0.3, speed: 400e6)
    #expect(policy.decisions(1) == [true])
    policy.noteLink(5e9)
    #expect(policy.decisions(1) == [false])
  }

  @Test func `while it is off, one chunk in 64 is tried`() {
    var policy = Self.policy(rate: 10e6, ratio: 1, speed: 400e6)
    let decisions = policy.decisions(4 * Self.trialInterval)
    let trials = decisions.indices.filter { decisions[$0] }
    #expect(trials == (1...4).map { $0 * Self.trialInterval - 1 })
  }

  @Test func `a link that is faster than the compressor is not tried`() {
    var policy = Self.policy(rate: 5e9, ratio: 0.1, speed: 2e9)
    #expect(policy.decisions(4 * Self.trialInterval).allSatisfy { !$0 })
  }

  @Test func `measurements without a duration or bytes are ignored`() {
    var policy = CompressionPolicy()
    policy.noteSent(byteCount: Self.chunk, nanoseconds: 0)
    #expect(policy.decisions(2 * Self.trialInterval).allSatisfy { !$0 })
    policy.noteLink(1e6)
    policy.noteCompressed(from: 0, to: 1, nanoseconds: 1000)
    policy.noteCompressed(from: Self.chunk, to: 2 * Self.chunk, nanoseconds: 0)
    #expect(policy.decisions(1) == [true])
  }
}

extension CompressionPolicy {
  /// Notes sends of 1 MiB at `rate` bytes a second until earlier ones do not count any more.
  fileprivate mutating func noteLink(_ rate: Double) {
    for _ in 0..<100 {
      noteSent(byteCount: 1 << 20, nanoseconds: UInt64(Double(1 << 20) / rate * 1e9))
    }
  }

  fileprivate mutating func noteCompressor(ratio: Double, speed: Double) {
    for _ in 0..<100 {
      noteCompressed(
        from: 1 << 20, to: Int(Double(1 << 20) * ratio),
        nanoseconds: UInt64(Double(1 << 20) / speed * 1e9))
    }
  }

  fileprivate mutating func decisions(_ count: Int) -> [Bool] {
    (0..<count).map { _ in shouldCompress() }
  }
}
