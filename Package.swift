// swift-tools-version: 6.2
import PackageDescription

// Cross-module optimisation specialises the generic journal for its storage: without it, each
// append goes through witness tables (measured: 30 ns a call instead of none).
let settings: [SwiftSetting] = [
  .strictMemorySafety(),
  .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]

let package = Package(
  name: "tapline",
  targets: [
    .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
    .target(name: "BlockModel", swiftSettings: settings),
    .systemLibrary(name: "CLinux"),
    .target(name: "SystemIO", dependencies: ["CISAL", "CLinux"], swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
