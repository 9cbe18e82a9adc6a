import Foundation
import TestSupport
import Testing

/// Proves that the processes of tests end when and how the tests rely on, and leave nothing.
@Suite(.scratch) struct ProcessTests {
  @Test func `output and exit code of a program are collected`() throws {
    let finished = try run("sh", ["-c", "echo out; echo err >&2; exit 3"])
    #expect(finished.status == 3)
    #expect(finished.stdout == "out\n")
    #expect(finished.stderr == "err\n")
    #expect(throws: RigError.self) { try finished.checked(0, 1) }
  }

  @Test func `a program that does not end is killed after its limit`() throws {
    #expect(throws: RigError.self) { try run("sleep", ["60"], within: .milliseconds(50)) }
  }

  @Test func `waiting for a line ends when the program does`() throws {
    let child = try ChildProcess("sh", ["-c", "echo here; echo unfinished lin; exit 7"])
    #expect(try child.waitForLine("her") == "here")
    #expect(throws: RigError.self) { try child.waitForLine("never printed") }
    #expect(try child.wait() == .exited(7))
  }

  @Test func `a child takes orders on standard input`() throws {
    let child = try ChildProcess("cat", takesInput: true)
    try child.send("first\n")
    try child.waitForLine("first")
    try child.send("second\n")
    try child.waitForLine("second")
    #expect(try child.terminate() == .signalled(SIGTERM))
  }

  @Test func `the children of a child die with its group`() throws {
    let scratch = try ScratchDirectory()
    let script = "sleep 60 & echo $! >\(scratch.file("pid")); echo started; wait"
    var child: ChildProcess? = try ChildProcess("sh", ["-c", script])
    try child?.waitForLine("started")
    let text = try String(contentsOfFile: scratch.file("pid"), encoding: .utf8)
    let pid = try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    #expect(kill(pid, 0) == 0)
    child = nil
    try eventually("the grandchild is gone") {
      let state = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
      return state == nil || state!.contains(") Z ")
    }
  }

  @Test func `a child is told to die with the test runner`() throws {
    // The kernel keeps the flag; a runner that dies cannot be watched from inside itself.
    let script =
      "import ctypes; n = ctypes.c_int(); "
      + "ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)"
    let signal = try run("python3", ["-c", script]).checked().stdout
    #expect(signal == "\(SIGKILL)\n")
  }

  @Test func `a child inherits no descriptor but the standard ones`() throws {
    let listing = try run("ls", ["/proc/self/fd"]).checked().stdout
    // The fourth is the directory that `ls` reads.
    #expect(listing == "0\n1\n2\n3\n")
  }

  @Test func `the system's Python comes first`() throws {
    #expect(Tool.find("python3") == "/usr/bin/python3")
    #expect(Tool.find("no-such-program") == nil)
  }
}

/// Proves that scratch directories do not pile up. Without the trait `.scratch`, which keeps them
/// until the verdict on the test.
@Suite struct ScratchDirectoryTests {
  @Test func `goes away with its value`() throws {
    let path = try {
      let scratch = try ScratchDirectory()
      try scratch.write([1, 2, 3], to: "file")
      #expect(FileManager.default.fileExists(atPath: scratch.file("file")))
      return scratch.path
    }()
    let isKept = ProcessInfo.processInfo.environment["TAPLINE_KEEP"] == "1"
    #expect(FileManager.default.fileExists(atPath: path) == isKept)
  }

  @Test func `refuses a socket whose path is too long for one`() throws {
    let scratch = try ScratchDirectory()
    #expect(try scratch.socket("a.sock").hasSuffix("/a.sock"))
    #expect(throws: RigError.self) { try scratch.socket(String(repeating: "x", count: 100)) }
  }
}

/// Proves that waits are bounded and instants are written as names of views want them.
@Suite struct WaitingTests {
  @Test func `eventually gives up and says what it waited for`() {
    #expect { try eventually("pigs fly", within: .milliseconds(20)) { false } } throws: { error in
      "\(error)".contains("pigs fly")
    }
  }

  @Test(arguments: [
    (UInt64(0), "1970-01-01T00:00:00.000000000Z"),
    (1_795_255_387_512_000_000, "2026-11-21T10:03:07.512000000Z"),
    (951_827_696_000_000_001, "2000-02-29T12:34:56.000000001Z"),
  ])
  func `an instant is written in RFC 3339`(nanoseconds: UInt64, text: String) {
    #expect(rfc3339(nanoseconds) == text)
  }

  @Test func `a quiet instant is after what happened before it`() {
    let before = wallClockNanoseconds()
    let instant = quietInstant()
    #expect(before < instant && instant < wallClockNanoseconds())
  }
}
