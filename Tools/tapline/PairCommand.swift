import CommandOptions
import Control

/// `tapline pair`, `tapline peers`, `tapline unpair`.
enum PairCommand {
  static let pair = Command(
    "pair", summary: "introduce two sites to each other, so that their links are encrypted",
    discussion: """
      Without arguments, at one of the two: prints a code, which is good once, for ten minutes.
      With that code and the address of the first one's link listener, at the other: the two
      exchange their keys, and from then on each knows the other by its key alone. Links between
      them connect by themselves.

      Whoever has the code may become a peer: bring it over as you would a password.

      \(ControlAddress.discussion)
      """,
    options: [.flag("json", help: "print JSON")] + ControlAddress.options,
    arguments: [
      CommandArgument("CODE", .optional, help: "what `tapline pair` has printed at the other site"),
      CommandArgument("ADDRESS", .optional, help: "the other's link listener: tcp:HOST:PORT"),
    ])

  static let peers = Command(
    "peers", summary: "list the sites that a running site knows by their keys",
    discussion: ControlAddress.discussion,
    options: [.flag("json", help: "print JSON")] + ControlAddress.options)

  static let unpair = Command(
    "unpair", summary: "forget a peer's key: it is not let in any more",
    discussion: """
      Its connections end, and it cannot connect again before the two are paired anew. Nothing of
      the groups is changed.

      \(ControlAddress.discussion)
      """,
    options: [.flag("json", help: "print JSON")] + ControlAddress.options,
    arguments: [CommandArgument("SITE", help: "the name of the peer")])

  static func runPair(_ invocation: Invocation) throws -> ExitCode {
    let client = try ControlAddress.client(invocation)
    guard let code = invocation.argument("CODE") else {
      let offer = try client.offerPairing()
      return try show(invocation, offer, PairingText.render(offer))
    }
    guard let address = invocation.argument("ADDRESS") else {
      throw CommandFailure(
        .usage, "pair: with a code the address of the other site's link listener is needed, too")
    }
    let peer = try client.pair(code: code, address: address)
    return try show(invocation, peer, PairingText.render(peer))
  }

  static func runPeers(_ invocation: Invocation) throws -> ExitCode {
    let peers = try ControlAddress.client(invocation).peers()
    return try show(invocation, peers, PairingText.render(peers))
  }

  static func runUnpair(_ invocation: Invocation) throws -> ExitCode {
    let site = invocation.argument("SITE") ?? ""
    let peers = try ControlAddress.client(invocation).unpair(site)
    return try show(
      invocation, peers, "\(site) is not a peer of \(peers.site) any more\n")
  }

  private static func show(
    _ invocation: Invocation, _ value: some Encodable, _ text: String
  ) throws -> ExitCode {
    Output.write(invocation.hasFlag("json") ? try ControlJSON.pretty(value) + "\n" : text)
    return .success
  }
}
