import Testing

@testable import Analyzer

/// Proves entropy, compressed size and zero counts of payloads whose values are known.
@Suite struct PayloadMeterTests {
  private func measure(_ bytes: [UInt8]) -> PayloadMeasurement {
    var meter = PayloadMeter()
    return unsafe bytes.withUnsafeBytes { unsafe meter.measure($0) }
  }

  @Test(arguments: [1, 7, 8, 512, 4096, 4097, 16_384])
  func zerosHaveNoEntropy(count: Int) {
    let result = measure([UInt8](repeating: 0, count: count))
    #expect(result.bytes == count)
    #expect(result.entropyBitsPerByte == 0)
    #expect(result.zeroBytes == count)
    #expect(result.zeroBlockBytes == count)
    #expect(result.compressedBytes <= count)
  }

  @Test(arguments: zip([1, 2, 4, 16, 256], [0.0, 1, 2, 4, 8]))
  func equallyFrequentValuesHaveTheLogarithmOfTheirNumber(values: Int, bits: Double) {
    let result = measure((0..<4096).map { UInt8($0 % values) })
    #expect(abs(result.entropyBitsPerByte - bits) < 1e-12)
  }

  @Test func unequalFrequenciesFollowShannon() {
    // A quarter of one value, three quarters of another: 2 - 3/4 · log2 3 = 0.811278…
    let result = measure((0..<4096).map { $0 % 4 == 0 ? 200 : 100 })
    #expect(abs(result.entropyBitsPerByte - 0.8112781244591328) < 1e-12)
  }

  @Test(arguments: [4096, 16_384])
  func encryptedDataIsNearlyEightBits(count: Int) {
    let result = measure(randomBytes(count))
    #expect(result.entropyBitsPerByte > 7.9)
    #expect(result.compressedBytes == count)
    #expect(result.zeroBlockBytes == 0)
  }

  @Test func textIsFarFromEightBitsAndCompresses() {
    let result = measure(textBytes(4096))
    #expect(result.entropyBitsPerByte > 3)
    #expect(result.entropyBitsPerByte < 5)
    #expect(result.compressedBytes < 2048)
    #expect(result.zeroBytes == 0)
  }

  @Test func zeroBlocksAreCountedApartFromZeroBytes() {
    var bytes = [UInt8](repeating: 0, count: 4096)
    bytes += randomBytes(4096).map { $0 | 1 }
    bytes += [UInt8](repeating: 0, count: 4095) + [1]
    let result = measure(bytes)
    #expect(result.zeroBytes == 4096 + 4095)
    #expect(result.zeroBlockBytes == 4096)
  }

  @Test func everyBytePositionIsCounted() {
    for position in 0..<19 {
      var bytes = [UInt8](repeating: 0, count: 19)
      bytes[position] = 255
      #expect(measure(bytes).zeroBytes == 18)
      #expect(measure(bytes).zeroBlockBytes == 0)
    }
  }

  @Test func onlyTheBeginningOfALongPayloadIsMeasured() {
    let limit = PayloadMeter.maximumSampleBytes
    let result = measure([UInt8](repeating: 0, count: limit) + randomBytes(1000))
    #expect(result.bytes == limit)
    #expect(result.zeroBytes == limit)
  }

  @Test func nothingMeasuresAsNothing() {
    #expect(measure([]).bytes == 0)
  }

  @Test func measurementLeavesNoTraceInTheNext() {
    var meter = PayloadMeter()
    let (random, text) = (randomBytes(16_384), textBytes(4096))
    _ = unsafe random.withUnsafeBytes { unsafe meter.measure($0) }
    let second = unsafe text.withUnsafeBytes { unsafe meter.measure($0) }
    #expect(second == measure(text))
  }

  @Test(arguments: [1, 2, 3, 10, 1000, 16_384])
  func logarithmInvertsPowers(value: Int) {
    let logarithm = binaryLogarithm(Double(value))
    #expect(abs(binaryLogarithm(Double(value) * Double(value)) - 2 * logarithm) < 1e-12)
    #expect(abs(binaryLogarithm(Double(value) * 1024) - 10 - logarithm) < 1e-12)
  }
}
