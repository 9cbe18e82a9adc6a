import Foundation
import TestSupport
import Testing

/// Proves what the head of `SystemCalls.swift` claims, from the objects that the compiler made:
/// each names the C functions that its source file calls. So no system call is overlooked, whatever
/// the source calls it.
@Suite struct SystemCallTests {
  /// What is called elsewhere than in `SystemIO/Linux`, by source file: what a simulated site does
  /// not do, or asks only once, when it starts.
  private static let exceptions: [String: Set<String>] = [
    "SystemIO/File": ["fstat", "stat"],
    "SystemIO/OpenFileLimit": ["getrlimit", "setrlimit"],
    "SystemIO/PageBuffer": ["mmap", "munmap"],
    "SystemIO/ServiceManager": ["getenv", "getpid", "sendto", "socket", "unsetenv"],
    "SystemIO/Socket": ["getaddrinfo", "freeaddrinfo"],
    "SystemIO/SocketAddress": ["getnameinfo"],
    "SystemIO/SocketPassing": ["getsockname", "getsockopt", "recvmsg", "sendmsg"],
    "SystemIO/SystemInfo": ["geteuid"],
    // Reads its file by itself, so that a configuration can be checked without anything else.
    "Configuration/ConfigurationFile": ["open", "open64", "read", "close"],
    "tapline/Output": ["fflush"],
    "tapline/SiteCommand": ["_exit"],
    "tapline/TerminationSignals": ["pthread_sigmask", "sigaddset", "sigemptyset", "sigwait"],
    "tapline/main": ["exit"],
  ]

  /// Functions that only compute, or manage memory.
  private static let harmless: Set<String> = [
    "malloc", "free", "memcpy", "memmove", "memset", "memcmp", "strlen", "strerror",
    "posix_memalign", "inet_pton", "crc32_iscsi", "floor", "ceil", "round", "rint", "trunc", "log2",
    "strstr",
    // Swift's own Mutex waits with futex(2) by this; the simulator runs one fiber at a time.
    "syscall",
  ]

  /// Of the libraries for disks, TLS, digests, compression and YAML, which do their own input and
  /// output or none, and of the compiler's run time.
  private static let prefixes = [
    "$s", "swift_", "_swift", "__swift", "__", "_Block", "_dispatch", "_ZN", "nbd_", "SSL_", "X509",
    "BIO_", "ERR_", "EVP_", "TLS_", "OPENSSL_", "GENERAL_", "ASN1_", "PEM_",
    "CRYPTO_", "i2d_", "LZ4_", "yaml_", "objc_",
  ]

  /// Of the build: where the tests that run here were loaded from.
  private static let folder: URL? = {
    let maps = try? String(contentsOfFile: "/proc/self/maps", encoding: .utf8)
    let line = maps?.split(separator: "\n").first { $0.hasSuffix(".xctest") }
    guard let line, let path = line.firstIndex(of: "/") else { return nil }
    return URL(filePath: String(line[path...])).deletingLastPathComponent()
  }()

  @Test(.requires("nm"), arguments: LayeringTests.modules)
  func `only SystemIO's Linux files make system calls`(module: String) throws {
    let folder = try #require(Self.folder, "no build folder").appending(path: "\(module).build")
    let sources = try Tree.swiftFiles(
      below: module == "tapline" ? "Tools/tapline" : "Sources/\(module)")
    for source in sources where !source.contains("/Linux/") && !source.contains("/Simulated/") {
      let name = URL(filePath: source).deletingPathExtension().lastPathComponent
      let object = folder.appending(path: "\(name).swift.o").path
      let listing = try run("nm", ["-u", "-j", object]).checked()
      let called = listing.stdout.split(separator: "\n").map(String.init).filter { symbol in
        !Self.harmless.contains(symbol) && !Self.prefixes.contains { symbol.hasPrefix($0) }
      }
      let allowed = Self.exceptions["\(module)/\(name)", default: []]
      for symbol in called {
        #expect(allowed.contains(symbol), "\(source) calls \(symbol)")
      }
    }
  }
}
