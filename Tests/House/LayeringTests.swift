import Foundation
import Testing

/// Proves that the layers hold as the manifest has them: a module depends on those before it, it
/// imports, in whatever form, what it depends on and nothing else, and the picture in
/// docs/architecture.md says the same.
struct LayeringTests {
  /// What needs no entry in the manifest; CFiber is for the simulated machines only.
  private static let beside: [String: Set<String>] = [
    "SystemIO": ["Glibc", "CFiber"],
    // Reads its file by itself, so that a configuration can be checked without anything else.
    "Configuration": ["Glibc"],
    "Control": ["Foundation"],
    "tapline": ["Foundation"],
  ]

  /// As the picture calls them.
  private static let libraries = [
    "CLinux": "libc", "Glibc": "libc", "CISAL": "isa-l", "CLZ4": "liblz4", "CNBD": "libnbd",
    "COpenSSL": "openssl", "CYAML": "libyaml",
  ]

  /// The modules of the program in the manifest's order, with what they depend on.
  private static let manifest: [(module: String, dependencies: Set<String>)] = {
    guard let text = try? Tree.text("Package.swift"), let layers = text.range(of: "// The layers"),
      let end = text.range(of: "// What the fuzzer drives")
    else { return [] }
    return text[layers.upperBound..<end.lowerBound].split(separator: "\n    ").reduce(into: []) {
      found, piece in
      let isTarget = piece.hasPrefix(".target(") || piece.hasPrefix(".executableTarget(")
      if piece.hasPrefix("layer(") || isTarget { found.append(("", [])) }
      add(quoted(piece), to: &found)
    }
  }()

  private static func add(
    _ names: [String], to found: inout [(module: String, dependencies: Set<String>)]
  ) {
    guard let last = found.indices.last else { return }
    var names = names[...]
    if found[last].module.isEmpty, let name = names.popFirst() { found[last].module = name }
    found[last].dependencies.formUnion(names)
  }

  /// What stands between quotation marks, but for paths and flags.
  private static func quoted(_ text: Substring) -> [String] {
    let parts = text.split(separator: "\"", omittingEmptySubsequences: false)
    return parts.enumerated().filter { !$0.offset.isMultiple(of: 2) }.map { String($0.element) }
      .filter { !$0.contains("/") && $0 != "Linux" && $0 != "Simulated" }
  }

  private static let allowed = Dictionary(
    manifest.map { ($0.module, $0.dependencies.union(beside[$0.module] ?? [])) }
  ) { first, _ in first }

  @Test func `the manifest names the modules lowest first`() throws {
    var below: Set<String> = []
    #expect(Self.manifest.count > 10)
    for (module, dependencies) in Self.manifest {
      for name in dependencies where Self.libraries[name] == nil && name != "CFiber" {
        #expect(below.contains(name), "\(module) depends on \(name)")
      }
      below.insert(module)
    }
  }

  /// Each line with a module and what it may import; the whole of what is below is said in words.
  @Test func `the picture says what the manifest says`() throws {
    let page = try Tree.text("docs/architecture.md")
    let start = try #require(page.range(of: "## Layers"))
    let end = try #require(page[start.upperBound...].range(of: "| module | is |"))
    var seen: Set<String> = ["Appliance", "tapline", "BlockModel", "NBDProtocol"]
    for line in page[start.upperBound..<end.lowerBound].split(separator: "\n") {
      let words = SwiftText.words(String(line))
      guard let module = words.first.map(String.init), let all = Self.allowed[module],
        !seen.contains(module)
      else { continue }
      seen.insert(module)
      let names = line.drop { $0 == " " }.dropFirst(module.count).split(separator: ",")
        .map { $0.filter { $0 != " " } }
      let wanted = all.subtracting(["CFiber"]).map { Self.libraries[$0] ?? $0 }
      #expect(Set(names) == Set(wanted), "\(module)")
    }
    #expect(seen == Set(Self.allowed.keys))
  }

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
