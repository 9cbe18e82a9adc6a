import NBDProtocol

/// What a client sends that stops keeping to the protocol, or stops in the middle of a request.
enum HostileEnding: CaseIterable {
  case garbage, oversizedWrite, halfAHeader, halfAWrite, nothing

  func bytes(disk: Int) -> [UInt8] {
    let write = NBDClient.message(
      ClientRequest(
        number: .max, .write, [], disk: disk, offset: 0, length: 4096,
        payload: [UInt8](repeating: 0xEE, count: 4096)))
    switch self {
    case .garbage: return [UInt8](repeating: 0xA5, count: 40)
    case .oversizedWrite:
      // The last field of the header is the length.
      return write[..<24] + [0x05, 0, 0, 0]
    case .halfAHeader: return Array(write.prefix(13))
    case .halfAWrite: return Array(write.prefix(1000))
    case .nothing: return []
    }
  }
}
