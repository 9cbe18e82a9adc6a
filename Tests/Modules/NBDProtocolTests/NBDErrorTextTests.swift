import NBDProtocol
import Testing

/// Proves that what is refused is explained in words that fit.
@Suite struct NBDErrorTextTests {
  private static let size: UInt64 = 1 << 20
  private static let payloadFlag: UInt16 = 1 << 5

  struct Refused: CustomTestStringConvertible, Sendable {
    var headers = NBDHeaderStyle.structured
    var isReadOnly = false
    var command: UInt16 = 0
    var flags: UInt16 = 0
    var offset: UInt64 = 0
    var length: UInt64 = 512
    let text: NBDErrorText

    var testDescription: String { "\(command): \(text)" }
  }

  private static let refused: [Refused] = [
    Refused(command: 77, text: "no such command"),
    Refused(command: 8, text: "no such command"),
    Refused(length: 0, text: "a length of zero"),
    Refused(offset: size, text: "past the end of the disk"),
    Refused(offset: .max, text: "past the end of the disk"),
    Refused(command: 4, offset: size, text: "past the end of the disk"),
    Refused(command: 6, offset: size, text: "past the end of the disk"),
    Refused(isReadOnly: true, command: 4, text: "the disk is read-only"),
    Refused(flags: 1 << 9, text: "a flag that the command does not have"),
    Refused(command: 3, text: "a FLUSH has neither offset nor length"),
    Refused(command: 7, text: "no metadata context was selected"),
    Refused(
      headers: .extended, command: 4, flags: payloadFlag, length: 16,
      text: "a payload that the command does not have"),
  ]

  @Test(arguments: refused) func `what is refused is explained`(_ refused: Refused) {
    let export = NBDExport(
      name: "disk", sizeBytes: Self.size, isReadOnly: refused.isReadOnly, canMultiConn: true)
    let session = NBDSession(export: export, headers: refused.headers)
    var stream = NBDRequestStream(NBDExportLimits(session))
    let isExtended = refused.headers == .extended
    let magic = u32(isExtended ? NBDMagic.extendedRequest : NBDMagic.request)
    let length = isExtended ? u64(refused.length) : u32(UInt32(refused.length))
    let header =
      magic + u16(refused.flags) + u16(refused.command) + u64(1) + u64(refused.offset) + length
    let bytes = header + [UInt8](repeating: 0, count: 16)
    let (_, step) = unsafe bytes.withUnsafeBytes { unsafe stream.next($0) }
    guard case .refuse(_, _, let text) = step else {
      Issue.record("not refused: \(step)")
      return
    }
    #expect(text == refused.text)
  }
}
