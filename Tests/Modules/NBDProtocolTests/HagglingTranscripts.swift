import NBDProtocol

// Options that change how the transmission phase will speak, in every order that clients use.

private let structured = NBDHeaderStyle.structured
private let extended = NBDHeaderStyle.extended
private let allocation = "base:allocation"
private let even = "x-test:even"

/// What the machine sends and asks for a SET or LIST that finds these contexts.
private func contexts(
  _ option: UInt32, _ exportName: String, _ queries: [String], found: [(UInt32, String)]
) -> [NBDHandshake.Action] {
  let request = NBDContextRequest(
    exportName: exportName, queries: queries, intent: option == 9 ? .list : .select)
  return [
    .findContexts(request),
    .send(found.flatMap { Wire.context(option, $0.0, $0.1) } + Wire.ack(option)),
  ]
}

/// What the machine sends and asks for a GO that succeeds. `flags` are added to those of the disk.
private func go(
  _ headers: NBDHeaderStyle, _ names: [String] = [], flags: UInt16, export: String = "disk"
) -> [NBDHandshake.Action] {
  let contexts = names.enumerated().map {
    NBDMetaContext(identifier: UInt32($0.offset), name: $0.element)
  }
  let session = NBDSession(export: HandshakeOwner.disk, headers: headers, contexts: contexts)
  return [
    serve(export),
    .send(Wire.reply(7, 3, u16(0) + diskSize + u16(0x056d | flags)) + Wire.ack(7)),
    .beginTransmission(session),
  ]
}

private func acknowledged(_ options: UInt32...) -> [NBDHandshake.Action] {
  options.map { .send(Wire.ack($0)) }
}

private let df: UInt16 = 0x80
private let statusPayload: UInt16 = 0x1000

extension Transcript {
  static let haggling = hagglingForHeaders + hagglingForContexts

  private static let hagglingForHeaders = [
    Transcript(
      "structured replies, twice, as libnbd does in its option mode",
      client: fixedNoZeroes + Wire.structured + Wire.structured + Wire.go("disk"),
      actions: acknowledged(8, 8) + go(structured, flags: df)),
    Transcript(
      "extended headers alone",
      client: fixedNoZeroes + Wire.extended + Wire.go("disk"),
      actions: acknowledged(11) + go(extended, flags: df)),
    Transcript(
      "extended headers, twice, after structured replies",
      client: fixedNoZeroes + Wire.structured + Wire.extended + Wire.extended + Wire.go("disk"),
      actions: acknowledged(8, 11, 11) + go(extended, flags: df)),
    Transcript(
      "structured replies after extended headers, which stay",
      client: fixedNoZeroes + Wire.extended + Wire.structured + Wire.go("disk"),
      actions: acknowledged(11)
        + [refusal(8, 0x8000_000a, "extended headers are in use")]
        + go(extended, flags: df)),
    Transcript(
      "options that take no data, with data",
      client: fixedNoZeroes + Wire.option(8, [1]) + Wire.option(11, [1]) + Wire.go("disk"),
      actions: [
        refusal(8, 0x8000_0003, "STRUCTURED_REPLY takes no data"),
        refusal(11, 0x8000_0003, "EXTENDED_HEADERS takes no data"),
      ] + go(.simple, flags: 0)),
    Transcript(
      "EXPORT_NAME after structured replies and contexts",
      client: fixedNoZeroes + Wire.structured + Wire.setContexts("disk", [allocation])
        + Wire.exportName("disk"),
      actions: acknowledged(8) + contexts(10, "disk", [allocation], found: [(0, allocation)])
        + [
          serve("disk"), .send(diskSize + u16(0x056d | df)),
          .beginTransmission(
            NBDSession(
              export: HandshakeOwner.disk, headers: structured,
              contexts: [NBDMetaContext(identifier: 0, name: allocation)])),
        ]),
    Transcript(
      "EXPORT_NAME after extended headers, which it cannot tell",
      client: fixedNoZeroes + Wire.extended + text("IHAVEOPT") + u32(1) + u32(4),
      actions: acknowledged(11) + [.close(reason: "*")], leftOver: text("disk")),
  ]

  private static let hagglingForContexts = [
    Transcript(
      "contexts for the export that is opened",
      client: fixedNoZeroes + Wire.structured
        + Wire.setContexts("disk", ["none:such", even, "", allocation]) + Wire.go("disk"),
      actions: acknowledged(8)
        + contexts(
          10, "disk", ["none:such", even, "", allocation], found: [(0, allocation), (1, even)])
        + go(structured, [allocation, even], flags: df)),
    Transcript(
      "contexts for another export than the one that is opened",
      client: fixedNoZeroes + Wire.structured + Wire.setContexts("disk@-90s", [allocation])
        + Wire.go("disk"),
      actions: acknowledged(8) + contexts(10, "disk@-90s", [allocation], found: [(0, allocation)])
        + go(structured, flags: df)),
    Transcript(
      "contexts, INFO for another export, then GO",
      client: fixedNoZeroes + Wire.extended + Wire.setContexts("disk", [even])
        + Wire.info("nope") + Wire.go("disk"),
      actions: acknowledged(11) + contexts(10, "disk", [even], found: [(0, even)])
        + [describe("nope"), refusal(6, 0x8000_0006, "no such export")]
        + go(extended, [even], flags: df | statusPayload)),
    Transcript(
      "extended headers after contexts, which stay",
      client: fixedNoZeroes + Wire.structured + Wire.setContexts("disk", [even]) + Wire.extended
        + Wire.go("disk"),
      actions: acknowledged(8) + contexts(10, "disk", [even], found: [(0, even)])
        + acknowledged(11) + go(extended, [even], flags: df | statusPayload)),
    Transcript(
      "contexts again, which replace those before",
      client: fixedNoZeroes + Wire.structured + Wire.setContexts("disk", [allocation, even])
        + Wire.setContexts("disk", [even]) + Wire.go("disk"),
      actions: acknowledged(8)
        + contexts(10, "disk", [allocation, even], found: [(0, allocation), (1, even)])
        + contexts(10, "disk", [even], found: [(0, even)]) + go(structured, [even], flags: df)),
    Transcript(
      "no queries, which selects nothing and lists all",
      client: fixedNoZeroes + Wire.structured + Wire.setContexts("disk", [allocation])
        + Wire.setContexts("disk") + Wire.listContexts("disk") + Wire.go("disk"),
      actions: acknowledged(8) + contexts(10, "disk", [allocation], found: [(0, allocation)])
        + contexts(10, "disk", [], found: [])
        + contexts(9, "disk", [], found: [(0, allocation), (0, even)])
        + go(structured, flags: df)),
    Transcript(
      "contexts of an export that is not there, which selects nothing",
      client: fixedNoZeroes + Wire.structured + Wire.setContexts("disk", [even])
        + Wire.setContexts("nope", [even]) + Wire.go("disk"),
      actions: acknowledged(8) + contexts(10, "disk", [even], found: [(0, even)])
        + [
          .findContexts(
            NBDContextRequest(exportName: "nope", queries: [even], intent: .select)),
          refusal(10, 0x8000_0006, "no such export"),
        ] + go(structured, flags: df)),
    Transcript(
      "contexts without structured replies: listed, not selected",
      client: fixedNoZeroes + Wire.listContexts("disk", [even])
        + Wire.setContexts("disk", [even]) + Wire.go("disk"),
      actions: contexts(9, "disk", [even], found: [(0, even)])
        + [refusal(10, 0x8000_0003, "SET_META_CONTEXT needs structured replies")]
        + go(.simple, flags: 0)),
    Transcript(
      "contexts whose lengths do not add up, which select nothing",
      client: fixedNoZeroes + Wire.structured + Wire.setContexts("disk", [even])
        + Wire.option(10) + Wire.option(10, u32(4) + text("disk"))
        + Wire.option(10, u32(4) + text("disk") + u32(2) + u32(1) + text("x"))
        + Wire.option(10, Wire.contextData("disk", [even]) + [0])
        + Wire.option(9, u32(.max)) + Wire.go("disk"),
      actions: acknowledged(8) + contexts(10, "disk", [even], found: [(0, even)])
        + [10, 10, 10, 10, 9].map { refusal($0, 0x8000_0003, badLengths) }
        + go(structured, flags: df)),
  ]
}
