import BlockModel
import Journal
import Storage
import Synchronization

/// The disks whose records a group's links send, with their stores: the group changes it, the links
/// read it. Any thread; nothing blocks.
public final class SentDisks<Store: BackingStore>: Sendable {
  private struct Entry {
    var number: DiskNumber
    var name: String
    var store: Store
  }

  private let entries: Mutex<[Entry]>
  private let next: Mutex<UInt16>

  /// - Parameter next: all numbers in records are below it.
  public init(_ disks: [(number: DiskNumber, name: String, store: Store)], next: UInt16) {
    self.next = Mutex(next)
    entries = Mutex(
      disks.map { Entry(number: $0.number, name: $0.name, store: $0.store) }
        .sorted { $0.number.rawValue < $1.number.rawValue })
  }

  /// Its records come from now on.
  public func add(_ number: DiskNumber, _ name: String, _ store: Store) {
    entries.withLock { $0.append(Entry(number: number, name: name, store: store)) }
    next.withLock { $0 = max($0, number.rawValue + 1) }
  }

  /// No more records of it come.
  public func remove(_ number: DiskNumber) {
    entries.withLock { $0.removeAll { $0.number == number } }
  }

  /// With the sizes that they have now, in ascending order of their numbers.
  var noted: [JournalState.Disk] {
    entries.withLock { entries in
      entries.map { .init(number: $0.number, name: $0.name, byteCount: $0.store.byteCount) }
    }
  }

  var nextDisk: UInt16 { next.withLock { $0 } }

  /// By number.
  var stores: [Store?] {
    entries.withLock { entries in
      var stores = [Store?](
        repeating: nil, count: (entries.map(\.number.index).max() ?? -1) + 1)
      for entry in entries { stores[entry.number.index] = entry.store }
      return stores
    }
  }
}
