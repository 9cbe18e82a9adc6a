import Testing

@testable import Analyzer

/// Proves that sampling takes everything while it fits, stays inside its budget when it does not,
/// and gives every write the same chance.
@Suite struct PayloadSamplerTests {
  private func sample(
    _ observations: some Sequence<WriteObservation>, budgetBytes: Int, seed: UInt64 = 1
  ) -> PayloadSampler {
    var sampler = PayloadSampler(seed: seed)
    sampler.begin(budgetBytes: budgetBytes)
    for observation in observations { sampler.consider(observation) }
    return sampler
  }

  private func bytes(_ sampler: PayloadSampler) -> Int {
    sampler.samples.reduce(0) { $0 + $1.bytes }
  }

  @Test func everythingIsChosenWhenItFits() {
    let sampler = sample((0..<64).map { observation(offset: $0) }, budgetBytes: 64 * 4096)
    #expect(sampler.samples.map(\.observation.offset) == Array(0..<64))
    #expect(sampler.oneIn == 1)
  }

  @Test(arguments: [65, 1000, 60_000])
  func budgetIsKeptAndUsed(writes: Int) {
    let budget = 64 * 4096
    let sampler = sample(repeatElement(observation(), count: writes), budgetBytes: budget)
    #expect(bytes(sampler) <= budget)
    #expect(bytes(sampler) >= budget / 5)
    let estimate = Double(sampler.samples.count) * Double(sampler.oneIn) / Double(writes)
    #expect(estimate > 0.5)
    #expect(estimate < 1.5)
  }

  @Test func periodicWritesAreChosenInProportion() {
    let sampler = sample(
      (0..<40_000).map { observation(offset: $0 % 2) }, budgetBytes: 1024 * 4096)
    let even = sampler.samples.count { $0.observation.offset == 0 }
    let share = Double(even) / Double(sampler.samples.count)
    #expect(sampler.oneIn >= 32)
    #expect(share > 0.4)
    #expect(share < 0.6)
  }

  @Test func earlyAndLateWritesHaveTheSameChance() {
    let sampler = sample((0..<40_000).map { observation(offset: $0) }, budgetBytes: 1024 * 4096)
    let early = sampler.samples.count { $0.observation.offset < 20_000 }
    let share = Double(early) / Double(sampler.samples.count)
    #expect(share > 0.4)
    #expect(share < 0.6)
  }

  @Test func longPayloadIsReadInPart() {
    let sampler = sample([observation(length: 1 << 20)], budgetBytes: 1 << 20)
    #expect(sampler.samples.map(\.bytes) == [PayloadMeter.maximumSampleBytes])
    let small = sample([observation(length: 1 << 20)], budgetBytes: 100)
    #expect(small.samples.map(\.bytes) == [100])
  }

  @Test func numberOfTinySamplesIsLimited() {
    let sampler = sample(repeatElement(observation(length: 1), count: 50_000), budgetBytes: .max)
    #expect(sampler.samples.count <= PayloadSampler.maximumSamples)
    #expect(sampler.oneIn >= 8)
  }

  @Test(arguments: [
    observation(length: 0), observation(kind: .trim), observation(kind: .zero),
  ])
  func requestWithoutPayloadIsNotChosen(request: WriteObservation) {
    #expect(sample([request], budgetBytes: 4096).samples.isEmpty)
  }

  @Test(arguments: [0, -1])
  func noBudgetMeansNoSample(budgetBytes: Int) {
    #expect(sample([observation()], budgetBytes: budgetBytes).samples.isEmpty)
  }

  @Test func nextRunBeginsAfresh() {
    var sampler = sample(repeatElement(observation(), count: 1000), budgetBytes: 4096)
    sampler.begin(budgetBytes: 4096)
    sampler.consider(observation(offset: 5))
    #expect(sampler.samples.map(\.observation.offset) == [5])
    #expect(sampler.oneIn == 1)
  }
}
