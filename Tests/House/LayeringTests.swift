import Foundation
import Testing

/// Proves that the picture of the layers holds: what a module imports, in whatever form, it may
/// import, and a C library is named by the modules that are said to use it.
struct LayeringTests {
  /// What each module may import beside Swift's own `Synchronization`.
  private static let allowed: [String: Set<String>] = [
    // CFiber for the simulated machines only.
    "SystemIO": ["CLinux", "CISAL", "CFiber", "Glibc"],
    "BlockModel": [],
    "NBDProtocol": [],
    "TLS": ["SystemIO", "COpenSSL"],
    "Handover": ["BlockModel", "SystemIO", "NBDProtocol"],
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
      "Replication", "Analyzer", "Configuration", "TLS", "Handover",
    ],
    "Control": [
      "BlockModel", "SystemIO", "Configuration", "Analyzer", "Handover", "Appliance",
      "Foundation",
    ],
    "JournalTools": ["BlockModel", "SystemIO", "Journal"],
    "CommandOptions": ["BlockModel"],
    "tapline": [
      "BlockModel", "SystemIO", "CommandOptions", "Configuration", "Handover", "Appliance",
      "Control", "JournalTools", "Foundation",
    ],
  ]

  static let modules = allowed.keys.sorted()

  private static func files(of module: String) throws -> [String] {
    try Tree.swiftFiles(below: module == "tapline" ? "Tools/tapline" : "Sources/\(module)")
  }

  @Test(arguments: modules)
  func `a module imports only what lies below it`(module: String) throws {
    let files = try Self.files(of: module)
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
    #expect(Set(folders) == Set(Self.allowed.keys).subtracting(["tapline"]))
  }

  /// The table says no more than is so, either.
  @Test func `what a module may import of the C libraries, it imports`() throws {
    for module in Self.modules {
      let imported = try Self.files(of: module).flatMap(Tree.imports(of:))
      for library in Self.allowed[module, default: []] where library.hasPrefix("C") {
        let isLibrary = FileManager.default.fileExists(
          atPath: Tree.path("Sources/\(library)/module.modulemap"))
        #expect(!isLibrary || imported.contains(library), "\(module) does not import \(library)")
      }
    }
  }

  @Test(arguments: [
    ("import A", ["A"]), ("@testable import A", ["A"]), ("public import A", ["A"]),
    ("@preconcurrency public import A", ["A"]), ("import struct A.B", ["A"]),
    ("  import A.B", ["A"]), ("@_spi(Test) import func A.b", ["A"]),
    ("import A; import B", ["A", "B"]),
    ("// import A", []), ("let x = \"import A\"", []), ("important(A)", []),
  ])
  func `an import is seen in every form`(text: String, modules: [String]) {
    #expect(Tree.imports(in: text) == modules)
  }
}
