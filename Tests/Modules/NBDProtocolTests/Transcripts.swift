import NBDProtocol
import Testing

/// A client's side of a handshake and what the server must do, written by hand from the
/// specification.
struct Transcript: CustomTestStringConvertible, Sendable {
  let testDescription: String
  let client: [UInt8]
  let actions: [NBDHandshake.Action]
  /// Bytes that belong to the transmission phase, or that nobody reads after a close.
  let leftOver: [UInt8]

  /// - Parameter actions: without the greeting, which every handshake begins with. A close with any
  ///   reason is written with the reason "*".
  init(
    _ description: String, client: [UInt8], actions: [NBDHandshake.Action], leftOver: [UInt8] = []
  ) {
    testDescription = description
    self.client = client + leftOver
    self.actions = [.send(Wire.greeting)] + actions
    self.leftOver = leftOver
  }
}

let fixedNoZeroes = u32(3)
private let disk = NBDSession(export: HandshakeOwner.disk)
private let view = NBDSession(export: HandshakeOwner.view)

/// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN, SEND_CACHE.
let diskFlags: [UInt8] = [0x05, 0x6d]
let diskSize: [UInt8] = [0, 0, 0, 1, 0, 0, 0x20, 0]
/// HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, SEND_CACHE.
private let viewFlags: [UInt8] = [0x04, 0x0f]

func describe(_ name: String) -> NBDHandshake.Action {
  .lookUpExport(name: name, intent: .describe)
}
func serve(_ name: String) -> NBDHandshake.Action {
  .lookUpExport(name: name, intent: .serve)
}
private func infoExport(_ option: UInt32) -> [UInt8] {
  Wire.reply(option, 3, u16(0) + diskSize + diskFlags)
}
private let goDisk: [NBDHandshake.Action] = [
  serve("disk"), .send(infoExport(7) + Wire.ack(7)), .beginTransmission(disk),
]
func refusal(_ option: UInt32, _ type: UInt32, _ message: String) -> NBDHandshake.Action {
  .send(Wire.reply(option, type, text(message)))
}
let badLengths = "lengths inside the option data do not add up"
private let badName = "export name is too long, not UTF-8 or contains NUL"

extension Transcript {
  static let all = entering + describing + refusing + closing + haggling

  static let entering = [
    Transcript(
      "GO, then a request in the same stream",
      client: fixedNoZeroes + Wire.go("disk"), actions: goDisk, leftOver: Wire.request),
    Transcript(
      "GO with block sizes for a read-only view",
      client: fixedNoZeroes + Wire.go("disk@-90s", [3]),
      actions: [
        serve("disk@-90s"),
        .send(
          Wire.reply(7, 3, u16(0) + u64(512) + viewFlags)
            + Wire.reply(7, 3, u16(3) + u32(1) + u32(4096) + u32(33_554_432)) + Wire.ack(7)),
        .beginTransmission(view),
      ]),
    Transcript(
      "GO for the default export",
      client: fixedNoZeroes + Wire.go("", [1]),
      actions: [
        serve(""), .send(infoExport(7) + Wire.reply(7, 3, u16(1) + text("disk")) + Wire.ack(7)),
        .beginTransmission(disk),
      ]),
    Transcript(
      "EXPORT_NAME without zeros",
      client: fixedNoZeroes + Wire.exportName("disk"),
      actions: [serve("disk"), .send(diskSize + diskFlags), .beginTransmission(disk)],
      leftOver: Wire.request),
    Transcript(
      "EXPORT_NAME with 124 zeros",
      client: u32(1) + Wire.exportName("disk"),
      actions: [
        serve("disk"), .send(diskSize + diskFlags + [UInt8](repeating: 0, count: 124)),
        .beginTransmission(disk),
      ]),
    Transcript(
      "EXPORT_NAME from a client without fixed newstyle",
      client: u32(0) + Wire.exportName(""),
      actions: [
        serve(""), .send(diskSize + diskFlags + [UInt8](repeating: 0, count: 124)),
        .beginTransmission(disk),
      ]),
  ]

  static let describing = [
    Transcript(
      "INFO with every type, some twice, some unknown; then GO for the same name",
      client: fixedNoZeroes + Wire.info("disk", [3, 2, 0, 0xffff, 1, 3, 7]) + Wire.go("disk"),
      actions: [
        describe("disk"),
        .send(
          infoExport(6) + Wire.reply(6, 3, u16(1) + text("disk"))
            + Wire.reply(6, 3, u16(2) + text("first disk"))
            + Wire.reply(6, 3, u16(3) + u32(1) + u32(4096) + u32(33_554_432)) + Wire.ack(6)),
      ] + goDisk),
    Transcript(
      "INFO leaves out a description that is empty",
      client: fixedNoZeroes + Wire.info("disk@-90s", [2]),
      actions: [
        describe("disk@-90s"),
        .send(Wire.reply(6, 3, u16(0) + u64(512) + viewFlags) + Wire.ack(6)),
      ]),
    Transcript(
      "LIST, then ABORT",
      client: fixedNoZeroes + Wire.list + Wire.abort,
      actions: [
        .listExports,
        .send(
          Wire.reply(3, 2, u32(4) + text("disk") + text("first disk"))
            + Wire.reply(3, 2, u32(1) + text("b")) + Wire.ack(3)),
        .send(Wire.ack(2)), .close(reason: nil),
      ], leftOver: Wire.list),
    Transcript(
      "ABORT with data that do not matter",
      client: fixedNoZeroes + Wire.option(2, text("bye")),
      actions: [.send(Wire.ack(2)), .close(reason: nil)]),
  ]

  static let refusing = [
    Transcript(
      "options that are not implemented, with and without data, then GO",
      client: fixedNoZeroes + Wire.option(4) + Wire.option(5) + Wire.option(5, text("x"))
        + Wire.option(12) + Wire.option(0xdead_beef, [1]) + Wire.go("disk"),
      actions: [4, 5, 5, 12, 0xdead_beef].map { .send(Wire.unsupported($0)) } + goDisk),
    Transcript(
      "GO and INFO for exports that are not to be had, then GO",
      client: fixedNoZeroes + Wire.go("nope") + Wire.info("secret", [3]) + Wire.go("late")
        + Wire.go("disk"),
      actions: [
        serve("nope"), refusal(7, 0x8000_0006, "no such export"),
        describe("secret"), refusal(6, 0x8000_0002, "not for you"),
        serve("late"), refusal(7, 0x8000_0007, "server is shutting down"),
      ] + goDisk),
    Transcript(
      "LIST with data, then ABORT",
      client: fixedNoZeroes + Wire.option(3, text("x")) + Wire.abort,
      actions: [
        refusal(3, 0x8000_0003, "LIST takes no data"), .send(Wire.ack(2)), .close(reason: nil),
      ]),
    Transcript(
      "INFO whose lengths do not add up, then GO",
      client: fixedNoZeroes + Wire.option(6) + Wire.option(6, u32(0))
        + Wire.option(6, u32(4) + text("disk")) + Wire.option(6, u32(.max) + text("disk") + u16(0))
        + Wire.option(6, u32(4) + text("disk") + u16(2) + u16(3))
        + Wire.option(6, Wire.infoData("disk", []) + [0]) + Wire.go("disk"),
      actions: [NBDHandshake.Action](
        repeating: refusal(6, 0x8000_0003, badLengths), count: 6) + goDisk),
    Transcript(
      "GO with names that are not names, then GO",
      client: fixedNoZeroes + Wire.go("di\0sk")
        + Wire.option(7, u32(2) + [0xc3, 0x28] + u16(0))
        + Wire.go(String(repeating: "n", count: 4097)) + Wire.go("disk"),
      actions: [NBDHandshake.Action](
        repeating: refusal(7, 0x8000_0003, badName), count: 3) + goDisk),
  ]

  static let closing = [
    Transcript(
      "client flag that was not offered", client: u32(7), actions: [.close(reason: "*")],
      leftOver: Wire.list),
    Transcript(
      "option with the wrong magic",
      client: fixedNoZeroes + text("IHAVEOPS") + u32(3) + u32(0),
      actions: [.close(reason: "*")], leftOver: Wire.list),
    Transcript(
      "LIST from a client without fixed newstyle",
      client: u32(2) + Wire.list, actions: [.close(reason: "*")]),
    Transcript(
      "EXPORT_NAME that is unknown",
      client: fixedNoZeroes + Wire.exportName("nope"),
      actions: [serve("nope"), .close(reason: "*")], leftOver: Wire.request),
    Transcript(
      "EXPORT_NAME that is not UTF-8",
      client: fixedNoZeroes + Wire.option(1, [0xff]), actions: [.close(reason: "*")]),
    Transcript(
      "EXPORT_NAME that is too long, without waiting for it",
      client: fixedNoZeroes + text("IHAVEOPT") + u32(1) + u32(4097),
      actions: [.close(reason: "*")], leftOver: [UInt8](repeating: 0x61, count: 4097)),
  ]
}
