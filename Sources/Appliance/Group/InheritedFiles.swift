import SystemIO

/// Files that another process had open, with their locks. Looked up by what they are, not by name.
struct InheritedFiles: Sendable {
  private let files: [File]

  init(_ files: [File] = []) { self.files = files }

  func file(at path: String) -> File? { files.first { $0.isFile(at: path) } }

  /// Throws unless each file is one of `paths`: with another one, something would be left behind.
  func check(areAmong paths: [String]) throws(SiteError) {
    for file in files where !paths.contains(where: file.isFile) {
      throw SiteError(
        "the running site uses \(file.path), which this configuration does not name; stop that "
          + "site and start this one instead")
    }
  }
}
