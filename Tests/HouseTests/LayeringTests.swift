import Foundation
import Testing

/// Proves that the picture of the layers holds: what a module imports, it may import, so the
/// architecture in `docs/architecture.md` cannot drift from the code.
struct LayeringTests {
  /// What each folder of `Sources/` and `Tools/` may import beside Swift's own `Synchronization`.
  private static let allowed: [String: Set<String>] = [
    // CFiber for the simulated machines only.
    "SystemIO": ["CLinux", "CISAL", "CFiber", "Glibc"],
    "BlockModel": [],
    "NBDProtocol": [],
    "TLS": ["SystemIO", "COpenSSL"],
    "Storage": ["BlockModel", "SystemIO", "CNBD"],
    "Journal": ["BlockModel", "SystemIO"],
    "Analyzer": ["BlockModel", "CLZ4"],
    "Volume": ["BlockModel", "SystemIO", "Journal", "Storage"],
    "Tap": ["BlockModel", "Journal", "Analyzer"],
    "Replication": ["BlockModel", "SystemIO", "Journal", "Storage", "CLZ4"],
    // Reads its file by itself, so that a configuration can be checked without anything else.
    "Configuration": ["BlockModel", "CYAML", "Glibc"],
    "Appliance": [
      "BlockModel", "SystemIO", "NBDProtocol", "Storage", "Journal", "Volume", "Tap",
      "Replication", "Analyzer", "Configuration", "TLS",
    ],
    "Control": [
      "BlockModel", "SystemIO", "Configuration", "Analyzer", "Appliance", "Foundation",
    ],
    "JournalTools": ["BlockModel", "SystemIO", "Journal"],
    "CommandOptions": ["BlockModel"],
  ]

  @Test(arguments: allowed.keys.sorted())
  func `a module imports only what lies below it`(module: String) throws {
    let files = try Tree.swiftFiles(below: "Sources/\(module)")
    #expect(!files.isEmpty)
    let allowed = Self.allowed[module, default: []].union(["Synchronization"])
    for file in files {
      for imported in try Tree.imports(of: file) {
        #expect(allowed.contains(imported), "\(file) imports \(imported)")
      }
    }
  }

  @Test func `every module of Sources has its place in the picture`() throws {
    let folders = try Tree.folders(in: "Sources").filter {
      !FileManager.default.fileExists(atPath: Tree.path("Sources/\($0)/module.modulemap"))
    }
    #expect(Set(folders) == Set(Self.allowed.keys))
  }
}
