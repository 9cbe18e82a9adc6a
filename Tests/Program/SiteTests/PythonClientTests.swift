import TestSupport
import Testing

/// Proves every command and every error that libnbd's own API can bring about, on a disk and on an
/// instant: what is done, what is refused with which error, and that a connection lives on after
/// each refusal.
@Suite(.scratch, .requires("python3", "nbdsh")) struct PythonClientTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let script: String
    let printed: [String]

    init(_ description: String, _ script: String, _ printed: String...) {
      testDescription = description
      self.script = script
      self.printed = printed
    }
  }

  /// On a disk of 8 MiB that begins with 64 KiB of x.
  static let commands = [
    Case("read", "print(h.pread(4, 65534))", "bytearray(b'xx\\x00\\x00')"),
    Case("write", "h.pwrite(b'abc', 1)\nprint(h.pread(5, 0))", "bytearray(b'xabcx')"),
    Case(
      "write with FUA", "h.pwrite(b'abc', 8388605, nbd.CMD_FLAG_FUA)\nprint(h.pread(3, 8388605))",
      "bytearray(b'abc')"),
    Case("zero", "h.zero(3, 1)\nprint(h.pread(5, 0))", "bytearray(b'x\\x00\\x00\\x00x')"),
    Case(
      "zero with every flag",
      "h.zero(2, 1, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO)\n"
        + "print(h.pread(4, 0))", "bytearray(b'x\\x00\\x00x')"),
    Case("zero everything", "h.zero(8 << 20, 0)\nprint(any(h.pread(8 << 20, 0)))", "False"),
    Case("trim", "h.trim(65536, 0)\nprint(any(h.pread(65536, 0)))", "False"),
    Case(
      "trim with FUA", "h.trim(1, 0, nbd.CMD_FLAG_FUA)\nprint(h.pread(2, 0))",
      "bytearray(b'\\x00x')"),
    Case("flush", "h.flush()\nprint('done')", "done"),
    Case("cache", "h.cache(8 << 20, 0)\nprint('done')", "done"),
    Case(
      "read in chunks", "h.pread_structured(131072, 0, chunk)", "0 65536 data 0",
      "65536 65536 hole 0"),
    Case(
      "read in one piece", "h.pread_structured(131072, 0, chunk, nbd.CMD_FLAG_DF)",
      "0 131072 data 0"),
    Case(
      "block status",
      "h.block_status(8 << 20, 0, lambda context, offset, entries, error: print(context, entries))",
      "base:allocation [65536, 0, 8323072, 3]"),
    Case(
      "block status of one extent",
      "h.block_status(4096, 4096, lambda c, o, entries, e: print(entries), nbd.CMD_FLAG_REQ_ONE)",
      "[4096, 0]"),
    Case(
      "many requests in flight",
      """
      buffers = [nbd.Buffer.from_bytearray(bytearray([n]) * 4096) for n in range(64)]
      waiting = {h.aio_pwrite(b, n * 4096) for n, b in enumerate(buffers)}
      while waiting:
          waiting = {c for c in waiting if not h.aio_command_completed(c)}
          if waiting: h.poll(-1)
      print(all(h.pread(4096, n * 4096) == bytes([n]) * 4096 for n in range(64)))
      """, "True"),
    Case(
      "every command in flight at once",
      """
      done = [h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b'q' * 512)), 1 << 20)]
      done += [h.aio_zero(4096, 2 << 20), h.aio_trim(4096, 3 << 20), h.aio_flush()]
      done += [h.aio_cache(4096, 0), h.aio_pread(nbd.Buffer(4096), 0)]
      done += [h.aio_block_status(4096, 0, lambda *_: 0)]
      waiting = set(done)
      while waiting:
          waiting = {c for c in waiting if not h.aio_command_completed(c)}
          if waiting: h.poll(-1)
      print(len(done), h.pread(1, 1 << 20))
      """, "7 bytearray(b'q')"),
    Case(
      "the last byte", "h.pwrite(b'z', 8388607)\nprint(h.pread(1, 8388607))", "bytearray(b'z')"),
    Case(
      "the largest read and write",
      "h2 = b'm' * (8 << 20)\nh.pwrite(h2, 0)\nprint(h.pread(8 << 20, 0) == h2)", "True"),
  ]

  /// What libnbd calls EOVERFLOW has no name for it, so the number is printed.
  static let errors = [
    Case("read past the end", "error(lambda: h.pread(1, 8 << 20))", "EINVAL"),
    Case("read across the end", "error(lambda: h.pread(2, 8388607))", "EINVAL"),
    Case("read far away", "error(lambda: h.pread(1, 1 << 62))", "EINVAL"),
    Case("write past the end", "error(lambda: h.pwrite(b'a', 8 << 20))", "ENOSPC"),
    Case("write across the end", "error(lambda: h.pwrite(b'ab', 8388607))", "ENOSPC"),
    Case("zero past the end", "error(lambda: h.zero(1, 8 << 20))", "ENOSPC"),
    Case("trim past the end", "error(lambda: h.trim(1, 8 << 20))", "EINVAL"),
    Case("cache past the end", "error(lambda: h.cache(1, 8 << 20))", "EINVAL"),
    Case(
      "status past the end", "error(lambda: h.block_status(1, 8 << 20, lambda *_: 0))", "EINVAL"),
    Case("read nothing", "error(lambda: h.pread(0, 0))", "EINVAL"),
    Case("write nothing", "error(lambda: h.pwrite(b'', 0))", "EINVAL"),
    Case("trim nothing", "error(lambda: h.trim(0, 0))", "EINVAL"),
    Case("zero nothing", "error(lambda: h.zero(0, 0))", "EINVAL"),
    Case("status of nothing", "error(lambda: h.block_status(0, 0, lambda *_: 0))", "EINVAL"),
    Case("read with NO_HOLE", "error(lambda: h.pread(1, 0, nbd.CMD_FLAG_NO_HOLE))", "EINVAL"),
    Case("write with DF", "error(lambda: h.pwrite(b'a', 0, nbd.CMD_FLAG_DF))", "EINVAL"),
    Case("trim with REQ_ONE", "error(lambda: h.trim(1, 0, nbd.CMD_FLAG_REQ_ONE))", "EINVAL"),
    Case("zero with a flag of no meaning", "error(lambda: h.zero(1, 0, 0x8000))", "EINVAL"),
    Case("flush with DF", "error(lambda: h.flush(nbd.CMD_FLAG_DF))", "EINVAL"),
  ]

  @Test(arguments: commands) func `a command does what it says`(command: Case) throws {
    let single = try SingleSite(history: "1h")
    try single.site.connect("disk").write([UInt8](repeating: 0x78, count: 65536), at: 0)
    let printed = try python(
      single.uri, command.script, before: "h.add_meta_context('base:allocation')")
    #expect(printed == command.printed)
  }

  @Test(arguments: errors) func `an error is told and the connection lives on`(bad: Case) throws {
    let single = try SingleSite(history: "1h")
    let script = "h.pwrite(b'before', 0)\n\(bad.script)\nprint(h.pread(6, 0))"
    let printed = try python(
      single.uri, script, before: "h.add_meta_context('base:allocation')")
    #expect(printed == bad.printed + ["bytearray(b'before')"])
  }

  @Test(arguments: [
    "h.pwrite(b'a', 0)", "h.zero(1, 0)", "h.trim(1, 0)", "h.pwrite(b'a', 8 << 20)",
    "h.zero(1, 0, nbd.CMD_FLAG_FUA)",
  ])
  func `an instant refuses every change`(command: String) throws {
    let single = try SingleSite(history: "1h")
    try single.site.connect("disk").write([7], at: 0)
    try single.site.checkpoint("now").checked()
    let printed = try python(
      single.site.uri("disk@checkpoint:now"),
      "error(lambda: \(command))\nh.flush()\nh.cache(1, 0)\nprint(h.is_read_only(), h.pread(1, 0))")
    #expect(printed == ["EPERM", "True bytearray(b'\\x07')"])
  }

  @Test func `commands that were not negotiated are refused`() throws {
    let single = try SingleSite(history: "1h")
    let status = "error(lambda: h.block_status(1, 0, lambda *_: 0))\nprint(h.can_df())"
    #expect(try python(single.uri, status).first != "no error")
    let plain = try python(
      single.uri,
      "print(h.get_structured_replies_negotiated(), h.can_df(), h.pread(1, 0))",
      before: "h.set_request_structured_replies(False)")
    #expect(plain == ["False False bytearray(b'\\x00')"])
  }

  @Test(arguments: [0, 1, 2, 3])
  func `old handshakes work`(flags: Int) throws {
    let single = try SingleSite()
    let printed = try python(
      single.uri, "h.pwrite(b'abc', 0)\nprint(h.get_protocol(), h.pread(3, 0))",
      before: "h.set_handshake_flags(\(flags))")
    let newstyle = flags & 1 == 0 ? "newstyle" : "newstyle-fixed"
    #expect(printed == ["\(newstyle) bytearray(b'abc')"])
  }

  @Test func `options are negotiated one by one`() throws {
    let single = try SingleSite(history: "1h")
    let script = """
      h = nbd.NBD()
      h.set_opt_mode(True)
      h.set_full_info(True)
      h.connect_unix('\(single.site.socket)')
      exports = []
      h.opt_list(lambda name, description: exports.append(name))
      print(exports)
      for name in ['nope', 'disk@1970-01-02T00:00:00Z', 'disk']:
          h.set_export_name(name)
          try:
              h.opt_info()
              print(name, h.get_size(), h.get_canonical_export_name())
          except nbd.Error as e:
              print(name, e.errno)
      contexts = []
      h.opt_list_meta_context(lambda name: contexts.append(name))
      print(contexts)
      h.opt_go()
      print(h.pread(1, 0))
      """
    #expect(
      try python(single.uri, script) == [
        "['disk']", "nope ENOENT", "disk@1970-01-02T00:00:00Z ENOENT", "disk 8388608 disk",
        "['base:allocation', 'tapline:changed-since:']", "bytearray(b'\\x00')",
      ])
  }

  /// libnbd from 1.18 on speaks them.
  @Test func `extended headers carry lengths of 64 bits`() throws {
    let size: UInt64 = 16 << 30
    let single = try SingleSite(size: Int(size), history: "1h")
    let seen = try python(
      single.uri,
      """
      if not hasattr(h, 'get_extended_headers_negotiated'):
          print('old')
          exit()
      print(h.get_extended_headers_negotiated(), h.can_block_status_payload())
      h.set_strict_mode(nbd.STRICT_AUTO_FLAG)
      h.pwrite(b'x' * 65536, 0)
      h.zero(6 << 30, 1 << 30)
      h.trim(5 << 30, 9 << 30)
      seen = []
      h.block_status_filter(
          16 << 30, 0, ['base:allocation'], lambda name, offset, extents, e: seen.extend(extents))
      print(seen)
      print(h.pread(65536, 0) == b'x' * 65536)
      """, before: "h.add_meta_context('base:allocation')")
    if seen == ["old"] { try skipTest("the libnbd here does not speak extended headers") }
    #expect(seen == ["True True", "[(65536, 0), (\(size - 65536), 3)]", "True"])
  }

  @Test func `a client that leaves with requests in flight harms nobody`() throws {
    let single = try SingleSite(size: 64 << 20, history: "1h")
    let other = try single.site.connect("disk")
    for _ in 0..<10 {
      _ = try python(
        single.uri,
        """
        buffer = nbd.Buffer.from_bytearray(bytearray(b'x' * (1 << 20)))
        for n in range(32): h.aio_pwrite(buffer, n << 20)
        for n in range(32): h.aio_pread(nbd.Buffer(1 << 20), n << 20)
        h.poll(1)
        del h
        """)
    }
    try other.write([5], at: 63 << 20)
    #expect(try other.read(at: 63 << 20, count: 1) == [5])
    #expect(try single.site.status().first("failure")?.string == nil)
  }
}
