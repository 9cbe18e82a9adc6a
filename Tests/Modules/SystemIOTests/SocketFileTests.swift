import Foundation
import TestSupport
import Testing

@testable import SystemIO

/// Proves that a listener takes the place of a dead socket and of nothing else.
@Suite(.scratch) struct SocketFileTests {
  private func path() throws -> String { try ScratchDirectory().socket("s.sock") }

  @Test func `a file that is no socket is refused and stays`() throws {
    let path = try path()
    try "a disk".write(toFile: path, atomically: false, encoding: .utf8)
    #expect(throws: Errno.notSocket) { try Socket.listen(on: .unix(path: path)) }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "a disk")
  }

  @Test func `a link is refused, whatever it leads to`() throws {
    let path = try path()
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "nowhere")
    #expect(throws: Errno.notSocket) { try Socket.listen(on: .unix(path: path)) }
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: path) == "nowhere")
  }

  @Test func `a socket on which nobody listens is replaced`() throws {
    let path = try path()
    do { _ = try Socket.listen(on: .unix(path: path)) }
    let listener = try Socket.listen(on: .unix(path: path))
    let client = try Socket.connect(to: .unix(path: path))
    #expect(try listener.accept() != nil)
    let names = try Directory.names(in: (path as NSString).deletingLastPathComponent)
    #expect(names == ["s.sock"])
    client.shutDown()
  }

  @Test func `a listener stays, also while its queue is full`() throws {
    let path = try path()
    let listener = try Socket.listen(on: .unix(path: path), backlog: 0)
    #expect(throws: Errno.addressInUse) { try Socket.listen(on: .unix(path: path)) }
    var waiting: [Socket] = []
    #expect(throws: Errno.again) {
      while waiting.count < 10 { waiting.append(try Socket.connectAtOnce(toUnix: path)) }
    }
    #expect(throws: Errno.addressInUse) { try Socket.listen(on: .unix(path: path)) }
    // Those that the checks above have made wait, too.
    while let client = try listener.accept() { client.shutDown() }
    _ = try Socket.connect(to: .unix(path: path))
    #expect(try listener.accept() != nil)
  }

  @Test func `only the socket itself is removed by its name`() throws {
    let path = try path()
    let listener = try Socket.listen(on: .unix(path: path))
    let file = try #require(try SocketFile(at: path))
    try Directory.rename(path, to: path + ".mine")
    try "another's".write(toFile: path, atomically: false, encoding: .utf8)
    #expect(try !file.remove())
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "another's")
    try Directory.remove(path)
    let other = try Socket.listen(on: .unix(path: path))
    #expect(try !file.remove())
    #expect(throws: Errno.addressInUse) { try Socket.listen(on: .unix(path: path)) }
    try Directory.rename(path + ".mine", to: path)
    #expect(try file.remove())
    #expect(!Directory.exists(path))
    _ = (listener, other)
  }
}
