import BlockModel
import TLS
import Testing

@testable import Appliance

/// Proves who may introduce itself, and what is written down of it.
@Suite struct PairingTests {
  private static let secret = [UInt8](repeating: 7, count: PairingCode.secretByteCount)
  private static let now: UInt64 = 1_000_000_000_000
  private static func key(_ number: UInt8) throws -> KeyFingerprint {
    try #require(KeyFingerprint([UInt8](repeating: number, count: KeyFingerprint.byteCount)))
  }

  @Test func `the secret lets in, until its time is up`() {
    var offer = PairingOffer(secret: Self.secret, now: Self.now)
    let end = Self.now + PairingOffer.nanoseconds
    #expect(offer.isOpen(now: end - 1) && !offer.isOpen(now: end))
    let inTime = offer.take(Self.secret, now: end - 1)
    let late = offer.take(Self.secret, now: end)
    #expect(inTime && !late)
  }

  @Test func `who guesses has a thousand tries`() {
    var offer = PairingOffer(secret: Self.secret, now: Self.now)
    for number in 0..<PairingOffer.tries {
      #expect(offer.isOpen(now: Self.now))
      let isTaken = offer.take([UInt8](repeating: 8, count: 6 + number % 5), now: Self.now)
      #expect(!isTaken)
    }
    let isTaken = offer.take(Self.secret, now: Self.now)
    #expect(!isTaken && !offer.isOpen(now: Self.now))
  }

  @Test func `a table is read as it was written`() throws {
    var table = PeerTable()
    table.note("west", try Self.key(1), now: Timestamp(nanoseconds: 1_700_000_000_123_456_789))
    table.note("south", try Self.key(2), now: Timestamp(nanoseconds: 0))
    // Once more is no change.
    table.note("west", try Self.key(1), now: Timestamp(nanoseconds: 5))
    #expect(PeerTable(parsing: table.text) == table)
    #expect(try table.name(of: Self.key(2)) == "south")
    #expect(try table.key(of: "west") == Self.key(1))
    table.remove("west")
    #expect(table.peers.map(\.site) == ["south"])
  }

  @Test func `nobody takes the name or the key of another`() throws {
    var table = PeerTable()
    table.note("west", try Self.key(1), now: .zero)
    #expect(try table.obstacle(to: "west", Self.key(1)) == nil)
    #expect(try table.obstacle(to: "south", Self.key(2)) == nil)
    #expect(try table.obstacle(to: "west", Self.key(2))?.contains("`tapline unpair west`") == true)
    #expect(try table.obstacle(to: "south", Self.key(1))?.contains("west's") == true)
  }

  @Test func `a damaged table is not read`() throws {
    var table = PeerTable()
    table.note("west", try Self.key(1), now: .zero)
    let line = "west \(try Self.key(1)) \(Timestamp.zero)\n"
    let wrong = [
      "", "tapline-peers 2\n", table.text + line, table.text + "x\n",
      table.text.replacing("01", with: "0"), table.text.replacing("west", with: "-"),
    ]
    for text in wrong { #expect(PeerTable(parsing: text) == nil, "\(text)") }
  }
}
