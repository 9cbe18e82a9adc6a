// swift-tools-version: 6.2
import PackageDescription

/// With `TAPLINE_SIMULATION=1` the lowest layer is built over the simulated machines in place of
/// Linux, and everything above it unchanged, but for the deliberate mistakes that can be switched
/// on (`MUTANTS`). `Tools/simulate` does that, in a build folder of its own.
let isSimulated = Context.environment["TAPLINE_SIMULATION"] == "1"

// Cross-module optimisation specialises the generic journal for its storage: without it, each
// append goes through witness tables (measured: 30 ns a call instead of none). The dynamic checks
// of exclusive access are on where the tests run, which is the debug build; in the release build
// they took 3 % of the loop's time. (The simulator needs neither, and the compiler's optimiser
// stumbles over it; its assertions are on.)
let settings: [SwiftSetting] =
  [
    .strictMemorySafety(),
    .unsafeFlags(
      (isSimulated ? ["-assert-config", "Debug"] : ["-cross-module-optimization"])
        + ["-enforce-exclusivity=unchecked"],
      .when(configuration: .release)),
  ] + (isSimulated ? [.define("MUTANTS")] : [])

func layer(_ name: String, _ dependencies: Target.Dependency...) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// Of a module.
func tests(_ name: String, _ dependencies: Target.Dependency...) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, path: "Tests/Modules/\(name)",
    swiftSettings: settings)
}

/// Of the program, as its users have it.
func programTests(_ name: String, exclude: [String] = [], _ dependencies: Target.Dependency...)
  -> Target
{
  .testTarget(
    name: name, dependencies: dependencies, path: "Tests/Program/\(name)", exclude: exclude,
    swiftSettings: settings)
}

/// What tests share.
func testSupport(_ name: String, _ dependencies: Target.Dependency...) -> Target {
  .target(
    name: name, dependencies: dependencies, path: "Tests/Support/\(name)",
    swiftSettings: settings)
}

let package = Package(
  name: "tapline",
  targets: [
    // C libraries, from Debian's packages.
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
    .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
    .systemLibrary(name: "CNBD", pkgConfig: "libnbd", providers: [.apt(["libnbd-dev"])]),
    .systemLibrary(
      name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),

    // The layers, lowest first. A test checks that imports point down only.
    .target(
      name: "SystemIO",
      dependencies: isSimulated ? ["CLinux", "CISAL", "CFiber"] : ["CLinux", "CISAL"],
      exclude: [isSimulated ? "Linux" : "Simulated"], swiftSettings: settings),
    layer("BlockModel"),
    layer("NBDProtocol"),
    layer("Storage", "BlockModel", "SystemIO", "CNBD"),
    layer("Journal", "BlockModel", "SystemIO"),
    layer("Analyzer", "BlockModel", "CLZ4"),
    layer("Volume", "BlockModel", "SystemIO", "Journal", "Storage"),
    layer("Tap", "BlockModel", "Journal", "Analyzer"),
    layer("Replication", "BlockModel", "SystemIO", "Journal", "Storage", "CLZ4", "COpenSSL"),
    layer("TLS", "SystemIO", "COpenSSL"),
    layer("Handover", "BlockModel", "SystemIO", "NBDProtocol"),
    layer("Configuration", "BlockModel", "SystemIO", "CYAML"),
    layer(
      "Appliance", "BlockModel", "SystemIO", "NBDProtocol", "Storage", "Journal", "Volume", "Tap",
      "Replication", "Analyzer", "Configuration", "TLS", "Handover"),
    layer(
      "Control", "BlockModel", "SystemIO", "Configuration", "Analyzer", "Handover", "Appliance"),
    layer("JournalTools", "BlockModel", "SystemIO", "Journal"),
    layer("CommandOptions", "BlockModel"),

    .executableTarget(
      name: "tapline",
      dependencies: [
        "BlockModel", "SystemIO", "CommandOptions", "Configuration", "Handover", "Appliance",
        "Control", "JournalTools",
      ], path: "Tools/tapline", swiftSettings: settings),

    // What the fuzzer drives; tests replay its corpus.
    .target(
      name: "FuzzTargets",
      dependencies: [
        "BlockModel", "SystemIO", "NBDProtocol", "Journal", "Replication", "Configuration",
        "Appliance",
      ],
      path: "Tools/fuzz-targets", swiftSettings: settings),

    testSupport("TestSupport", "CNBD"),
    testSupport("StorageTesting", "BlockModel", "Storage", "SystemIO"),
    testSupport(
      "JournalTestSupport", "BlockModel", "SystemIO", "Journal", "Storage", "Volume",
      "StorageTesting", "TestSupport"),
    .testTarget(
      name: "TestSupportTests", dependencies: ["TestSupport"],
      path: "Tests/Support/TestSupportTests", swiftSettings: settings),

    tests("SystemIOTests", "SystemIO", "TestSupport"),
    tests("BlockModelTests", "BlockModel", "TestSupport"),
    tests(
      "ReplicationTests", "BlockModel", "SystemIO", "Storage", "Journal", "Replication",
      "StorageTesting", "JournalTestSupport", "TestSupport"),
    tests(
      "JournalTests", "BlockModel", "SystemIO", "Journal", "JournalTestSupport", "TestSupport",
      "Volume"),
    tests(
      "VolumeTests", "BlockModel", "SystemIO", "Journal", "Storage", "Volume",
      "JournalTestSupport", "StorageTesting", "TestSupport"),
    tests("NBDProtocolTests", "NBDProtocol", "TestSupport"),
    tests("StorageTests", "BlockModel", "Storage", "StorageTesting", "SystemIO", "TestSupport"),
    tests("AnalyzerTests", "Analyzer", "BlockModel", "TestSupport"),
    tests("ConfigurationTests", "Configuration", "BlockModel", "SystemIO", "TestSupport"),
    tests(
      "ApplianceTests", "Appliance", "BlockModel", "Configuration", "Journal",
      "JournalTestSupport", "Replication", "Storage", "StorageTesting", "SystemIO", "TLS",
      "TestSupport", "Volume"),
    tests("CommandOptionsTests", "CommandOptions"),
    tests(
      "ControlTests", "BlockModel", "SystemIO", "Configuration", "Handover", "Appliance",
      "Control"),
    tests(
      "JournalToolsTests", "BlockModel", "SystemIO", "Journal", "JournalTools",
      "JournalTestSupport", "TestSupport"),
    tests("TLSTests", "TLS", "SystemIO", "TestSupport"),
    tests("HandoverTests", "BlockModel", "SystemIO", "NBDProtocol", "Handover", "TestSupport"),

    programTests("SiteTests", "Appliance", "Journal", "SystemIO", "TestSupport"),
    programTests("GuestTests", "TestSupport"),
    programTests("FuzzTests", exclude: ["Corpus"], "FuzzTargets", "TestSupport"),
    programTests("ReliabilityTests", "TestSupport"),
    programTests("SimulationTests", "TestSupport"),
    // What a reader relies on.
    .testTarget(
      name: "HouseTests", dependencies: ["TestSupport"], path: "Tests/House",
      swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)

if isSimulated {
  package.targets.append(.systemLibrary(name: "CFiber"))
  package.targets = package.targets.filter { ![.test, .executable].contains($0.type) }
  package.targets.append(
    .executableTarget(
      name: "simulator",
      dependencies: [
        "BlockModel", "SystemIO", "NBDProtocol", "Journal", "Configuration", "Appliance",
        "CFiber",
      ], path: "Tools/simulator", exclude: ["regressions.txt"], swiftSettings: settings))
}

// Linked with libFuzzer, which brings `main` along: in no other build.
if Context.environment["TAPLINE_FUZZ"] == "1" {
  package.targets.append(
    .executableTarget(
      name: "fuzzer", dependencies: ["FuzzTargets"], path: "Tools/fuzzer",
      swiftSettings: [.strictMemorySafety(), .unsafeFlags(["-parse-as-library"])]))
}
