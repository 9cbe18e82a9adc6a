import Foundation
import FuzzTargets
import Testing

/// Proves that the inputs of the fuzzer's corpus (recorded clients, inputs that failed once, and
/// what it takes to reach the code) still do what must hold for every input. `Tools/fuzz` finds
/// more of them.
@Suite struct FuzzCorpusTests {
  private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "Corpus")

  private static func inputs(of target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
    let folder = folder.appending(path: target.rawValue)
    return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map { name in
      (name, [UInt8](try Data(contentsOf: folder.appending(path: name))))
    }
  }

  @Test(arguments: FuzzTarget.allCases)
  func `no input of the corpus breaks what must hold`(target: FuzzTarget) throws {
    let inputs = try Self.inputs(of: target)
    #expect(!inputs.isEmpty)
    for (name, bytes) in inputs {
      #expect(throws: Never.self, "\(target)/\(name)") { try target.run(bytes) }
    }
  }

  @Test(arguments: FuzzTarget.allCases)
  func `inputs of the corpus are small`(target: FuzzTarget) throws {
    for (name, bytes) in try Self.inputs(of: target) {
      #expect(bytes.count <= 8192, "\(target)/\(name)")
    }
  }

  @Test(arguments: FuzzTarget.allCases)
  func `an input cut off anywhere is an input`(target: FuzzTarget) throws {
    let inputs = try Self.inputs(of: target)
    let input = try #require(inputs.max { $0.bytes.count < $1.bytes.count })
    for count in stride(from: 0, through: input.bytes.count, by: 61) {
      #expect(throws: Never.self) { try target.run(Array(input.bytes.prefix(count))) }
    }
  }
}
