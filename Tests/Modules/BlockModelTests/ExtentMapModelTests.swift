import BlockModel
import TestSupport
import Testing

/// Proves that after any sequence of writes the map says of every byte what a plain array of bytes
/// says, that its tree stays sound, and that both ways of reading agree.
@Suite struct ExtentMapModelTests {
  static let size = 20_000

  /// Runs writes on a map and on a model, reading a random range after each.
  private func run(seed: UInt64, mix: WriteMix, base: UInt64, writes: Int) {
    var generator = SeededGenerator(seed: seed)
    var map = ExtentMap()
    var model = ExtentModel(base: base, size: Self.size)
    for number in 0..<writes {
      let write = mix.write(&generator, in: model.window, number: number)
      map.insert(write.range, write.source)
      model.insert(write.range, write.source)

      let start = base + UInt64.random(in: 0...UInt64(Self.size - 1), using: &generator)
      let length = UInt64.random(in: 1...min(400, model.window.end - start), using: &generator)
      let range = ByteRange(start: start, length: length)
      let pieces = map.pieces(in: range)
      if let offset = model.firstMismatch(in: range, pieces: pieces) {
        Issue.record("write \(number) left a wrong source at \(offset)")
        return
      }
      guard areEqual(pieces, map.piecesOneByOne(in: range)) else {
        Issue.record("after write \(number) the two ways of reading \(range) differ")
        return
      }
      if number % 200 == 199 || number == writes - 1 {
        #expect(model.firstMismatch(in: model.window, pieces: map.pieces(in: model.window)) == nil)
        #expect(map.mappedBytes == model.mappedBytes)
        #expect(map.structuralDefect() == nil, "after write \(number)")
      }
    }
    let sealed = map.sealed()
    #expect(sealed.extents == map.extents)
    #expect(sealed.mappedBytes == map.mappedBytes)
    #expect(areEqual(sealed.pieces(in: model.window), map.pieces(in: model.window)))
    #expect(areEqual(sealed.piecesOneByOne(in: model.window), map.pieces(in: model.window)))
  }

  @Test(arguments: [1, 2, 3] as [UInt64], WriteMix.all)
  func randomWritesAtTheStartOfADisk(seed: UInt64, mix: WriteMix) {
    run(seed: seed, mix: mix, base: 0, writes: 3_000)
  }

  @Test(arguments: [4] as [UInt64], WriteMix.all)
  func randomWritesAtTheEndOfTheAddressSpace(seed: UInt64, mix: WriteMix) {
    run(seed: seed, mix: mix, base: .max - UInt64(Self.size), writes: 1_500)
  }

  /// Fine writes make many leaves, one huge write then removes most of them.
  @Test(arguments: [5, 6] as [UInt64])
  func hugeWritesOverManyLeaves(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    var map = ExtentMap()
    var model = ExtentModel(base: 0, size: Self.size)
    let fine = WriteMix(name: "fine", lengths: [1...2])
    let huge = WriteMix(name: "huge", lengths: [2_000...19_000], zerosPercent: 30)
    for round in 0..<8 {
      for number in 0..<4_000 {
        let write = fine.write(&generator, in: model.window, number: number)
        map.insert(write.range, write.source)
        model.insert(write.range, write.source)
      }
      #expect(map.nodesInUse > 66, "too few leaves for a second branch")
      #expect(map.structuralDefect() == nil, "round \(round), many leaves")
      let write = huge.write(&generator, in: model.window, number: round)
      map.insert(write.range, write.source)
      model.insert(write.range, write.source)
      #expect(map.structuralDefect() == nil, "round \(round), after \(write.range)")
      #expect(model.firstMismatch(in: model.window, pieces: map.pieces(in: model.window)) == nil)
    }
  }
}
