import NBDProtocol
import TestSupport
import Testing

/// Proves that a READ's reply, put together piece by piece, says the same in every style: a client
/// that assembles it has the bytes of the range, each once, and knows where an error begins.
@Suite struct NBDReadReplyTests {
  /// A run of a disk: zeros, or bytes of this value.
  struct Run: Sendable {
    let count: Int
    let value: UInt8
  }

  private func request(
    offset: UInt64, length: Int, flags: NBDCommandFlags = []
  ) -> NBDRequest {
    NBDRequest(flags: flags, command: 0, cookie: 77, offset: offset, length: UInt64(length))
  }

  /// The reply's bytes; `failsIn` is the run whose bytes cannot be had.
  private func reply(
    _ request: NBDRequest, _ headers: NBDHeaderStyle, _ runs: [Run], failsIn: Int? = nil
  ) -> [UInt8] {
    let capacity = NBDReadReply.capacity(length: Int(request.length))
    var memory = [UInt8](repeating: 0xee, count: capacity + 64)
    let count = unsafe memory.withUnsafeMutableBytes { bytes -> Int in
      var reply = unsafe NBDReadReply(to: request, headers, in: bytes.baseAddress!)
      var offset = request.offset
      for (index, run) in runs.enumerated() {
        if run.value == 0, index != failsIn {
          reply.appendZeros(run.count)
        } else {
          let data = unsafe reply.appendData(run.count)
          unsafe data.initializeMemory(as: UInt8.self, repeating: run.value)
          if index == failsIn { return reply.fail(.io, from: offset) }
        }
        offset += UInt64(run.count)
      }
      return reply.finish()
    }
    #expect(count <= capacity)
    #expect(memory[capacity...].allSatisfy { $0 == 0xee }, "wrote behind its memory")
    return Array(memory.prefix(count))
  }

  private func bytes(_ runs: some Sequence<Run>) -> [UInt8] {
    runs.flatMap { [UInt8](repeating: $0.value, count: $0.count) }
  }

  @Test func `one run of data is one chunk, or one simple reply`() {
    let runs = [Run(count: 3, value: 9), Run(count: 2, value: 8)]
    let request = request(offset: 0x1_0000_0001, length: 5)
    let simple: [UInt8] = [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0] + u64(77) + bytes(runs)
    #expect(reply(request, .simple, runs) == simple)
    let structured: [UInt8] =
      [0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 1] + u64(77) + u32(13) + u64(0x1_0000_0001) + bytes(runs)
    #expect(reply(request, .structured, runs) == structured)
    let extended: [UInt8] =
      [0x6e, 0x8a, 0x27, 0x8c, 0, 1, 0, 1] + u64(77) + u64(0x1_0000_0001) + u64(13)
      + u64(0x1_0000_0001) + bytes(runs)
    #expect(reply(request, .extended, runs) == extended)
  }

  @Test func `zeros are one hole of 12 bytes`() {
    let request = request(offset: 512, length: 1 << 20)
    let runs = [Run(count: 1 << 19, value: 0), Run(count: 1 << 19, value: 0)]
    let structured: [UInt8] =
      [0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 2] + u64(77) + u32(12) + u64(512) + u32(1 << 20)
    #expect(reply(request, .structured, runs) == structured)
    let whole = NBDReplyParser.parse(
      reply(self.request(offset: 512, length: 1 << 20, flags: .dontFragment), .structured, runs),
      .structured)
    #expect(whole?.chunks == [.data(offset: 512, [UInt8](repeating: 0, count: 1 << 20))])
  }

  @Test(arguments: [NBDHeaderStyle.structured, .extended])
  func `an error says where it begins, and what came before is kept`(_ headers: NBDHeaderStyle) {
    let runs = [
      Run(count: 8192, value: 0), Run(count: 100, value: 5), Run(count: 100, value: 6),
    ]
    let request = request(offset: 4096, length: 8392)
    let parsed = NBDReplyParser.parse(reply(request, headers, runs, failsIn: 2), headers)
    #expect(
      parsed?.chunks == [
        .hole(offset: 4096, 8192), .data(offset: 12288, [UInt8](repeating: 5, count: 100)),
        .error(5, offset: 12388),
      ])
    let early = NBDReplyParser.parse(reply(request, headers, runs, failsIn: 0), headers)
    #expect(early?.chunks == [.error(5, offset: 4096)])
    #expect(reply(request, .simple, runs, failsIn: 1).count == 16)
  }

  @Test(arguments: [4095, 4096, 8192, 12345])
  func `data that prove to be zeros become a hole when it is long enough`(_ count: Int) {
    var memory = [UInt8](repeating: 0xee, count: NBDReadReply.capacity(length: 512 + count))
    for poison in [nil, 0, count / 2, count - 1] as [Int?] {
      let request = request(offset: 0, length: 512 + count)
      let byteCount = unsafe memory.withUnsafeMutableBytes { bytes -> Int in
        var reply = unsafe NBDReadReply(to: request, .structured, in: bytes.baseAddress!)
        unsafe reply.appendData(512).initializeMemory(as: UInt8.self, repeating: 1)
        let data = unsafe reply.appendData(count)
        unsafe data.initializeMemory(as: UInt8.self, repeating: 0)
        if let poison { unsafe data[poison] = 9 }
        reply.foldZeros(count)
        return reply.finish()
      }
      let parsed = NBDReplyParser.parse(Array(memory.prefix(byteCount)), .structured)
      var expected = [UInt8](repeating: 1, count: 512) + [UInt8](repeating: 0, count: count)
      if let poison { expected[512 + poison] = 9 }
      #expect(parsed?.assembled(from: 0) == expected)
      #expect((byteCount < 4096) == (poison == nil && count >= 4096))
    }
  }

  @Test(arguments: 0..<300 as Range<UInt64>)
  func `a client assembles the range from any mixture of runs`(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let runs = (0..<Int.random(in: 1...12, using: &random)).map { _ in
      let most = [1, 600, 5000, 40_000].randomElement(using: &random)!
      return Run(
        count: Int.random(in: 1...most, using: &random),
        value: Bool.random(using: &random) ? 0 : UInt8.random(in: 1...255, using: &random))
    }
    let expected = bytes(runs)
    let request = request(
      offset: UInt64.random(in: 0...5000, using: &random), length: expected.count)
    let failing = Bool.random(using: &random) ? runs.indices.randomElement(using: &random) : nil
    let good = bytes(runs.prefix(failing ?? runs.count))
    for headers in [NBDHeaderStyle.structured, .extended] {
      let parsed = NBDReplyParser.parse(reply(request, headers, runs, failsIn: failing), headers)
      #expect(parsed?.assembled(from: request.offset) == good)
      #expect(parsed?.errorOffset == failing.map { _ in request.offset + UInt64(good.count) })
    }
  }
}

/// Takes a reply apart as a client does, independently of the module's own constants.
struct NBDReplyParser {
  enum Chunk: Equatable {
    case data(offset: UInt64, [UInt8])
    case hole(offset: UInt64, Int)
    case error(UInt32, offset: UInt64)
  }

  var chunks: [Chunk] = []

  /// Nil when the bytes are not chunks of which just the last says so.
  static func parse(_ bytes: [UInt8], _ headers: NBDHeaderStyle) -> NBDReplyParser? {
    var parser = NBDReplyParser()
    var rest = bytes[...]
    func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
    func take(_ count: Int) -> ArraySlice<UInt8> {
      defer { rest = rest.dropFirst(count) }
      return rest.prefix(count)
    }
    var isDone = false
    while !rest.isEmpty {
      let isExtended = headers == .extended
      guard !isDone, number(take(4)) == (isExtended ? 0x6e8a_278c : 0x668e_33ef) else { return nil }
      isDone = number(take(2)) == 1
      let type = number(take(2))
      guard number(take(8)) == 77 else { return nil }
      if isExtended { _ = take(8) }
      let length = number(take(isExtended ? 8 : 4))
      guard length <= UInt64(rest.count) else { return nil }
      let payload = take(Int(length))
      switch type {
      case 1:
        let offset = number(payload.prefix(8))
        parser.chunks.append(.data(offset: offset, Array(payload.dropFirst(8))))
      case 2:
        guard length == 12 else { return nil }
        parser.chunks.append(
          .hole(offset: number(payload.prefix(8)), Int(number(payload.suffix(4)))))
      case 0x8002:
        guard length == 14 + number(payload.dropFirst(4).prefix(2)) else { return nil }
        parser.chunks.append(
          .error(UInt32(number(payload.prefix(4))), offset: number(payload.suffix(8))))
      default: return nil
      }
    }
    return isDone ? parser : nil
  }

  /// The bytes from `offset` on; nil when chunks do not follow each other from there.
  func assembled(from offset: UInt64) -> [UInt8]? {
    var bytes: [UInt8] = []
    for chunk in chunks {
      switch chunk {
      case .data(let start, let data):
        guard start == offset + UInt64(bytes.count) else { return nil }
        bytes += data
      case .hole(let start, let count):
        guard start == offset + UInt64(bytes.count), count > 0 else { return nil }
        bytes += [UInt8](repeating: 0, count: count)
      case .error: break
      }
    }
    return bytes
  }

  var errorOffset: UInt64? {
    if case .error(_, let offset) = chunks.last { offset } else { nil }
  }
}
