import Foundation
import TestSupport
import Testing

@testable import TLS

/// Proves that a secret which others can read or change is not used, and that the message says what
/// to do.
@Suite(.scratch) struct SecretFileTests {
  @Test(arguments: [
    (0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o602, false), (0o660, false),
  ])
  func `only its owner and its group may read it`(mode: Int, isGood: Bool) throws {
    let scratch = try ScratchDirectory()
    let path = scratch.file("key")
    try Data("secret".utf8).write(to: URL(filePath: path))
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    if isGood {
      #expect(try SecretFile.read(path, limit: 100) == Array("secret".utf8))
    } else {
      let error = #expect(throws: TLSError.self) { try SecretFile.read(path, limit: 100) }
      #expect(error?.description.contains("`chmod 600 \(path)`") == true, "\(error as Any)")
    }
  }
}
