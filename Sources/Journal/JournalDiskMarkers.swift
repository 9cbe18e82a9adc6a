import BlockModel

/// Disks that come to the group while the journal is in use, and the markers that say so.
extension Journal {
  /// Numbers of disks in records are below it.
  public var diskCount: Int { index.active.disks.count }

  /// Records of disks with numbers below `count` can be staged from now on. Commits what is staged
  /// and closes the active generation.
  public func grow(toDisks count: Int) throws(JournalError) {
    try freezeActive()
    index.grow(toDisks: count)
  }

  func diskChange(
    _ header: RecordHeader, _ record: UnsafeMutableRawPointer
  ) throws(JournalError) -> (DiskChange, JournalState.Mark) {
    let payload = unsafe UnsafeRawBufferPointer(
      start: record + RecordHeader.byteCount, count: header.payloadByteCount)
    guard let change = unsafe DiskChange(number: header.disk, payload: payload) else {
      throw .notNext("record \(stamped.rawValue + 1) says of a disk what cannot be")
    }
    return (change, .init(stamped.advanced(by: 1), header.timestamp))
  }

  /// What must be noted in the state file, and `admit`ted, before `accept` goes on; once.
  public func takeNextChange() -> (DiskChange, JournalState.Mark)? {
    defer { nextChange = nil }
    return nextChange
  }

  /// The marker that comes next may be accepted.
  public func admitNextChange() { admitted = stamped.advanced(by: 1) }

  /// Whatever comes next is of another connection.
  public func forgetNextChange() {
    nextChange = nil
    admitted = .none
  }
}
