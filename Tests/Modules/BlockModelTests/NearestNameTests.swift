import BlockModel
import Testing

/// Proves that a mistyped name leads to the name that was meant, and that an unrelated one does
/// not lead anywhere.
@Suite struct NearestNameTests {
  private let names = ["role", "mode", "history", "apply_every", "checkpoint_every", "disks"]

  @Test(arguments: [
    ("rol", "role"), ("roel", "role"), ("mod", "mode"), ("histroy", "history"),
    ("applyevery", "apply_every"), ("apply-every", "apply_every"), ("disk", "disks"),
    ("chekpoint_evry", "checkpoint_every"),
  ])
  func findsWhatWasMeant(written: String, meant: String) {
    #expect(nearestName(to: written, in: names) == meant)
  }

  @Test(arguments: ["", "x", "colour", "size", String(repeating: "r", count: 100_000)])
  func findsNothingForOtherWords(written: String) {
    #expect(nearestName(to: written, in: names) == nil)
  }

  @Test func takesTheFirstOfEquals() {
    #expect(nearestName(to: "cot", in: ["cat", "cut"]) == "cat")
    #expect(nearestName(to: "a", in: []) == nil)
  }
}
