import BlockModel

/// What a site says of itself to one that does not know it yet: the body of a `pair` frame.
public struct PairingIntroduction: Equatable, Sendable {
  static let secretLimit = 64

  public let site: String
  public let secret: [UInt8]

  public init(site: String, secret: [UInt8]) {
    self.site = site
    self.secret = secret
  }

  /// The whole message.
  public var encoded: [UInt8] {
    var encoder = WireEncoder()
    encoder.put(site)
    encoder.put(secret)
    return LinkFrame(.pair, bodyByteCount: encoder.bytes.count).encoded + encoder.bytes
  }

  public init(decoding body: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(body)
    do throws(WireDecoder.Failure) {
      site = try decoder.takeString()
      secret = try decoder.takeBytes(min(decoder.remaining, Self.secretLimit))
    } catch { throw .protocolViolation("the introduction is malformed") }
    guard EntityName.isValid(site) else {
      throw .protocolViolation("the introduction has a name that no site can have")
    }
  }
}

/// The answer to it.
public struct PairingAnswer: Equatable, Sendable {
  public let site: String

  public init(site: String) { self.site = site }

  /// The whole message.
  public var encoded: [UInt8] {
    var encoder = WireEncoder()
    encoder.put(site)
    return LinkFrame(.paired, bodyByteCount: encoder.bytes.count).encoded + encoder.bytes
  }

  public init(decoding body: [UInt8]) throws(LinkError) {
    var decoder = WireDecoder(body)
    do throws(WireDecoder.Failure) { site = try decoder.takeString() } catch {
      throw .protocolViolation("the answer to the introduction is malformed")
    }
    guard EntityName.isValid(site) else {
      throw .protocolViolation("the other site has a name that no site can have")
    }
  }
}
