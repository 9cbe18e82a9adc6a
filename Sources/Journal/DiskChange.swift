import BlockModel

/// What a marker record says of a disk: from this record on the group has it, its content is whole,
/// or it has left. The record's disk number is the disk's; no other disk of the group ever has it.
public struct DiskChange: Equatable, Sendable {
  public enum Event: UInt8, Sendable {
    /// The disk reads as zeros from here on; what it holds comes as records.
    case added = 1
    /// What it held when it was added has come: instants from here on show it.
    case whole = 2
    /// No later instant has it.
    case removed = 3
  }

  public var event: Event
  public var number: DiskNumber
  public var name: String
  public var byteCount: UInt64

  public init(_ event: Event, _ disk: JournalState.Disk) {
    self.event = event
    number = disk.number
    name = disk.name
    byteCount = disk.byteCount
  }

  /// The record's payload.
  public var payload: [UInt8] {
    var encoder = WireEncoder()
    encoder.put(event.rawValue)
    encoder.put(byteCount)
    encoder.put(name)
    return encoder.bytes
  }

  /// Nil: no such thing can be.
  public init?(number: DiskNumber, payload: UnsafeRawBufferPointer) {
    var decoder = unsafe WireDecoder(Array(payload))
    do throws(WireDecoder.Failure) {
      guard let event = Event(rawValue: try decoder.take()) else { return nil }
      self.event = event
      byteCount = try decoder.take()
      name = try decoder.takeString()
    } catch { return nil }
    self.number = number
    guard byteCount > 0, decoder.remaining == 0 else { return nil }
  }
}
