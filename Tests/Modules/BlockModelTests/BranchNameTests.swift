import BlockModel
import Testing

/// Proves that what is set aside has a name that people know again, whatever its group is called.
@Suite struct BranchNameTests {
  @Test func `it says of which group it is, and of which change of owner`() {
    #expect(BranchName.parked("parked", group: "shop", term: 3) == "parked-shop-3")
    #expect(BranchName.parked("parked", group: "shop", term: 3, number: 2) == "parked-shop-3-2")
  }

  /// A branch whose name is none is not found by the next opening.
  @Test func `that of a group with the longest name is a name, too`() {
    let group = String(repeating: "g", count: 64)
    for kind in ["parked", "rolled-back"] {
      let names = [1, 2, 1000].map { number in
        BranchName.parked(kind, group: group, term: 1 << 47, number: number)
      }
      #expect(Set(names).count == 3 && names.allSatisfy(BranchName.isValid))
    }
  }
}
