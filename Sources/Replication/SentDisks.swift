import BlockModel
import Journal
import Storage
import Synchronization

/// The disks whose records a group's links send, with their stores: the group changes it, the links
/// read it. Any thread; nothing blocks.
public final class SentDisks<Store: BackingStore>: Sendable {
  public struct Disk: Sendable {
    public var number: DiskNumber
    public var name: String
    public var store: Store

    public init(number: DiskNumber, name: String, store: Store) {
      self.number = number
      self.name = name
      self.store = store
    }
  }

  private struct Content {
    /// In ascending order of their numbers.
    var disks: [Disk]
    var next: UInt16
  }

  private let content: Mutex<Content>

  /// - Parameter next: all numbers in records are below it.
  public init(_ disks: [Disk] = [], next: UInt16) {
    let sorted = disks.sorted { $0.number.rawValue < $1.number.rawValue }
    content = Mutex(Content(disks: sorted, next: next))
  }

  /// Its records come from now on.
  public func add(_ disk: Disk) {
    content.withLock { content in
      content.disks.removeAll { $0.number == disk.number }
      content.disks.append(disk)
      content.disks.sort { $0.number.rawValue < $1.number.rawValue }
      content.next = max(content.next, disk.number.rawValue + 1)
    }
  }

  /// No more records of it come.
  public func remove(_ number: DiskNumber) {
    content.withLock { $0.disks.removeAll { $0.number == number } }
  }

  /// With the sizes that they have now, in ascending order of their numbers.
  var noted: [JournalState.Disk] {
    content.withLock { content in
      content.disks.map {
        .init(number: $0.number, name: $0.name, byteCount: $0.store.byteCount)
      }
    }
  }

  var nextDisk: UInt16 { content.withLock { $0.next } }

  /// By number.
  var stores: [Store?] {
    content.withLock { content in
      var stores = [Store?](
        repeating: nil, count: (content.disks.map(\.number.index).max() ?? -1) + 1)
      for disk in content.disks { stores[disk.number.index] = disk.store }
      return stores
    }
  }
}
