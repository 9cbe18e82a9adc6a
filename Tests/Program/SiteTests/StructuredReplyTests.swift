import Foundation
import TestSupport
import Testing

/// Proves what libnbd, as nbdsh uses it, sees of reads in chunks: holes, whole answers where they
/// are asked for, and where an error begins.
@Suite(.scratch) struct StructuredReplyTests {
  private func script(_ uri: String, _ lines: [String]) throws -> [String] {
    try python(uri, lines.joined(separator: "\n"))
  }

  @Test(.requires("python3", "nbdsh")) func `zeros of the journal are sent as holes`() throws {
    let single = try SingleSite(history: "1h")
    let seen = try script(
      single.uri,
      [
        "h.pwrite(b'x' * (1 << 20), 0)",
        "h.zero(65536, 65536)",
        "h.zero(100, 300000)",
        "h.pread_structured(1 << 20, 0, chunk)",
      ])
    #expect(seen == ["0 65536 data 0", "65536 65536 hole 0", "131072 917504 data 0"])
  }

  @Test(.requires("python3", "nbdsh")) func `what was never written is sent as holes`() throws {
    let single = try SingleSite(size: 64 << 20, history: "1h")
    let seen = try script(
      single.uri,
      [
        "h.pread_structured(32 << 20, 0, chunk)", "h.pwrite(b'x' * 512, 1 << 20)",
        "h.pread_structured(2 << 20, 0, chunk)",
      ])
    #expect(
      seen == [
        "0 33554432 hole 0", "0 1048576 hole 0", "1048576 512 data 0", "1049088 1048064 hole 0",
      ])
  }

  /// Whether the file's bytes are read from memory or by a worker, which asks the file for holes,
  /// is the kernel's choice.
  @Test(.requires("python3", "nbdsh"))
  func `holes of a file are sent as holes between its data`() throws {
    let single = try SingleSite(size: 64 << 20)
    try single.site.stop()
    let handle = try #require(FileHandle(forUpdatingAtPath: single.site.rawFile("disk")))
    for offset in [0, 8 << 20, (16 << 20) - 4096] as [UInt64] {
      try handle.seek(toOffset: offset)
      try handle.write(contentsOf: Data(repeating: 7, count: 4096))
    }
    try single.site.start()
    let seen = try script(single.uri, ["h.pread_structured(16 << 20, 0, chunk)"])
    let lengths = seen.map { line in
      (Int(line.split(separator: " ")[1]) ?? 0, line.contains("data"))
    }
    #expect(lengths.map(\.1) == [true, false, true, false, true])
    #expect(lengths.filter(\.1).allSatisfy { (4096...256 << 10).contains($0.0) })
    #expect(lengths.reduce(0) { $0 + $1.0 } == 16 << 20)
  }

  @Test(.requires("python3", "nbdsh")) func `a read with DF comes in one piece`() throws {
    let single = try SingleSite(history: "1h")
    let seen = try script(
      single.uri,
      [
        "h.pwrite(b'x' * (1 << 20), 0)", "h.zero(65536, 65536)",
        "h.pread_structured(1 << 20, 0, chunk, nbd.CMD_FLAG_DF)",
      ])
    #expect(seen == ["0 1048576 data 0"])
  }

  @Test(.requires("python3", "nbdsh", "nbdkit"))
  func `an error says where it begins`() throws {
    let scratch = try ScratchDirectory()
    let upstream = try scratch.socket("upstream.sock")
    let server = try ChildProcess(
      "nbdkit",
      [
        "-f", "-U", upstream, "eval", "get_size=echo 8388608",
        "pread=echo 'EIO broken' >&2; exit 1", "pwrite=cat >/dev/null", "can_write=exit 0",
        "can_flush=exit 0", "flush=exit 0",
      ], logs: scratch)
    try eventually("nbdkit listens") { RawConnection.isListening(unix: upstream) }
    let site = try Site("east", in: scratch)
    site.addDisk(
      "disk", size: 8 << 20, backing: "nbd+unix:///?socket=\(upstream)", role: .protected)
    site.configuration.groups[0].history = "1h"
    try site.start()
    let seen = try script(
      site.uri("disk"),
      [
        "h.pwrite(b'x' * 8192, 4096)",
        "try:",
        "    h.pread_structured(16384, 4096, chunk)",
        "except nbd.Error as e:",
        "    print(e.errno)",
      ])
    #expect(seen == ["4096 8192 data 0", "12288 0 error 5", "EIO"])
    try site.stop()
    try server.terminate()
  }

  @Test(.requires("python3", "nbdsh"))
  func `CACHE and fast zeroing are done, and refused outside of the disk`() throws {
    let single = try SingleSite(history: "1h")
    let seen = try script(
      single.uri,
      [
        "print(h.can_cache(), h.can_fast_zero(), h.can_df(), h.can_multi_conn())",
        "h.pwrite(b'x' * 8192, 0)",
        "h.cache(1 << 20, 0)",
        "h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO)",
        "print(h.pread(8192, 0) == b'\\0' * 4096 + b'x' * 4096)",
        "for bad in [lambda: h.cache(1, 8 << 20), lambda: h.cache(0, 0),",
        "            lambda: h.trim(4096, 0, nbd.CMD_FLAG_FAST_ZERO)]:",
        "    try:",
        "        bad()",
        "    except nbd.Error as e:",
        "        print(e.errno)",
      ])
    #expect(seen == ["True True True True", "True", "EINVAL", "EINVAL", "EINVAL"])
  }

  /// libnbd writes the text to its debug log.
  @Test(
    .requires("python3", "nbdsh"),
    arguments: [
      ("disk", 8, "ENOSPC", "past the end of the disk"),
      ("disk@latest", 0, "EPERM", "the disk is read-only"),
    ])
  func `an error says why`(export: String, mebibyte: Int, error: String, text: String) throws {
    let single = try SingleSite(history: "1h")
    let seen = try script(
      single.site.uri(export),
      [
        "said = []", "h.set_debug(True)",
        "h.set_debug_callback(lambda context, text: said.append(text))",
        "try:", "    h.pwrite(b'x' * 512, \(mebibyte) << 20)", "except nbd.Error as e:",
        "    print(any('\(text)' in line for line in said), e.errno)",
      ])
    #expect(seen == ["True \(error)"])
  }
}
