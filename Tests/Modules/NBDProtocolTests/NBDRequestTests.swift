import NBDProtocol
import Testing

/// Proves that requests are read and replies are written byte for byte as the specification says,
/// at any alignment, and that the numbers of commands and errors are those of the specification.
@Suite struct NBDRequestTests {
  private static let writeWithFUA: [UInt8] = [
    0x25, 0x60, 0x95, 0x13,  // magic
    0x00, 0x01,  // flags
    0x00, 0x01,  // command
    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,  // cookie
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,  // offset
    0xf0, 0x00, 0x10, 0x01,  // length
  ]

  private func parse(_ bytes: [UInt8], skipping count: Int = 0) -> NBDRequest? {
    unsafe bytes.withUnsafeBytes { unsafe NBDRequest(parsing: $0.baseAddress! + count) }
  }

  @Test func `a header has 28 bytes`() {
    #expect(NBDRequest.byteCount == Self.writeWithFUA.count)
  }

  @Test(arguments: 0..<8)
  func `a header is parsed at any alignment`(_ shift: Int) throws {
    let bytes = [UInt8](repeating: 0xff, count: shift) + Self.writeWithFUA
    let request = try #require(parse(bytes, skipping: shift))
    #expect(
      request
        == NBDRequest(
          flags: .fua, command: 1, cookie: 0x1122_3344_5566_7788, offset: 0x0102_0304_0506_0708,
          length: 0xf000_1001))
    #expect(request.isFUA)
  }

  private static let extendedTrim: [UInt8] = [
    0x21, 0xe4, 0x1c, 0x71,  // magic
    0x00, 0x00,  // flags
    0x00, 0x04,  // command
    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,  // cookie
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,  // offset
    0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80,  // length
  ]

  @Test(arguments: 0..<8)
  func `an extended header of 32 bytes is parsed at any alignment`(_ shift: Int) {
    let bytes = [UInt8](repeating: 0xff, count: shift) + Self.extendedTrim
    let request = unsafe bytes.withUnsafeBytes {
      unsafe NBDRequest(parsing: $0.baseAddress! + shift, headers: .extended)
    }
    #expect(NBDRequest.byteCount(.extended) == Self.extendedTrim.count)
    #expect(
      request
        == NBDRequest(
          command: 4, cookie: 0x1122_3344_5566_7788, offset: 0x0102_0304_0506_0708,
          length: 0x1020_3040_5060_7080))
  }

  @Test func `a header of the style that was not negotiated is refused`() {
    let extended = unsafe Self.writeWithFUA.withUnsafeBytes {
      unsafe NBDRequest(parsing: $0.baseAddress!, headers: .extended)
    }
    #expect(extended == nil)
    #expect(parse(Self.extendedTrim) == nil)
  }

  @Test(arguments: 0..<4)
  func `a header with the wrong magic is refused`(_ index: Int) {
    var bytes = Self.writeWithFUA
    bytes[index] ^= 0x01
    #expect(parse(bytes) == nil)
  }

  @Test func `commands have the numbers of the specification`() {
    let numbers: [NBDCommand: UInt16] = [
      .read: 0, .write: 1, .disconnect: 2, .flush: 3, .trim: 4, .cache: 5, .writeZeroes: 6,
      .blockStatus: 7, .resize: 8,
    ]
    #expect(numbers.count == NBDCommand.allCases.count)
    for (command, number) in numbers { #expect(command.rawValue == number) }
  }
}
