/// A small library in C that a test puts between a site and the system.
enum PreloadedLibrary {
  /// Builds `source`, a path below `Tests`, into the scratch folder. Needs `cc`.
  ///
  /// - Returns: the path for `LD_PRELOAD`.
  static func build(_ source: String, in scratch: ScratchDirectory) throws -> String {
    let library = scratch.file("\(source.split(separator: "/").last ?? "preloaded").so")
    try run(
      "cc",
      [
        "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library,
        "\(projectRoot)/Tests/Support/\(source)",
      ]
    ).checked()
    return library
  }
}
