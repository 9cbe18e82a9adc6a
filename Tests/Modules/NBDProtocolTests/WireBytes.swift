// Big-endian bytes for hand-written messages, on purpose not the coding of the module under test.

func u16(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }
func u32(_ value: UInt32) -> [UInt8] { u16(UInt16(value >> 16)) + u16(UInt16(value & 0xffff)) }
func u64(_ value: UInt64) -> [UInt8] {
  u32(UInt32(value >> 32)) + u32(UInt32(value & 0xffff_ffff))
}
func text(_ string: String) -> [UInt8] { Array(string.utf8) }

/// The numbers of the specification, written out again so that a slip in the module shows.
enum Wire {
  static let greeting = text("NBDMAGIC") + text("IHAVEOPT") + [0x00, 0x03]

  static func option(_ number: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    text("IHAVEOPT") + u32(number) + u32(UInt32(data.count)) + data
  }

  static func exportName(_ name: String) -> [UInt8] { option(1, text(name)) }
  static let abort = option(2)
  static let list = option(3)
  static func info(_ name: String, _ types: [UInt16] = []) -> [UInt8] {
    option(6, infoData(name, types))
  }
  static func go(_ name: String, _ types: [UInt16] = []) -> [UInt8] {
    option(7, infoData(name, types))
  }
  static let structured = option(8)
  static let extended = option(11)
  static func listContexts(_ name: String, _ queries: [String] = []) -> [UInt8] {
    option(9, contextData(name, queries))
  }
  static func setContexts(_ name: String, _ queries: [String] = []) -> [UInt8] {
    option(10, contextData(name, queries))
  }
  static func contextData(_ name: String, _ queries: [String]) -> [UInt8] {
    u32(UInt32(name.utf8.count)) + text(name) + u32(UInt32(queries.count))
      + queries.flatMap { u32(UInt32($0.utf8.count)) + text($0) }
  }
  static func infoData(_ name: String, _ types: [UInt16]) -> [UInt8] {
    u32(UInt32(name.utf8.count)) + text(name) + u16(UInt16(types.count)) + types.flatMap(u16)
  }

  static func reply(_ option: UInt32, _ type: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    [0x00, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9]
      + u32(option) + u32(type) + u32(UInt32(data.count)) + data
  }
  static func context(_ option: UInt32, _ identifier: UInt32, _ name: String) -> [UInt8] {
    reply(option, 4, u32(identifier) + text(name))
  }
  static func ack(_ option: UInt32) -> [UInt8] { reply(option, 1) }
  static func unsupported(_ option: UInt32) -> [UInt8] { reply(option, 0x8000_0001) }

  static let request: [UInt8] = [
    0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0,
    2, 0,
  ]
}
