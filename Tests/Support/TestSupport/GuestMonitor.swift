/// A connection to the monitor of qemu (QMP): a line of JSON for each command and reply.
struct GuestMonitor {
  private let connection: RawConnection

  init(_ socket: String) throws {
    connection = try RawConnection(unix: socket)
    _ = try line()
    try execute("qmp_capabilities", "{}")
  }

  /// - Parameter arguments: JSON.
  /// - Throws: `RigError` with qemu's words when it refuses.
  func execute(_ command: String, _ arguments: String) throws {
    let text = #"{"execute":"\#(command)","arguments":\#(arguments)}"#
    connection.send(Array(text.utf8) + [UInt8(ascii: "\n")])
    while true {
      let reply = try JSON(try line())
      if reply["return"] != nil { return }
      // Anything else is an event.
      if let error = reply["error"] { throw RigError("qemu, \(text): \(error)") }
    }
  }

  private func line() throws -> String {
    var bytes: [UInt8] = []
    while bytes.last != UInt8(ascii: "\n") {
      let byte = try connection.receive(1)
      if byte.isEmpty { throw RigError("qemu has closed its monitor") }
      bytes += byte
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
