import Glibc
import SystemIO
import TestSupport
import Testing

/// A peer that goes away is an error of its own connection and nothing to the process.
@Suite(.scratch) struct SocketTests {
  /// In a process of its own: others of this one's tests ignore the signal.
  @Test func aFileSentToAPeerThatHasGoneIsAnError() async throws {
    await #expect(processExitsWith: .success) {
      let scratch = try ScratchDirectory()
      let file = try File(creating: scratch.file("file"))
      try file.truncate(to: 4096)
      let endpoint = try SocketAddress.unix(path: scratch.socket("socket"))
      let listener = try Socket.listen(on: endpoint)
      let socket = try Socket.connect(to: endpoint)
      _ = try #require(try listener.accept())
      #expect(throws: Errno(EPIPE)) { try socket.sendFile(file, at: 0, count: 4096) }
    }
  }
}
