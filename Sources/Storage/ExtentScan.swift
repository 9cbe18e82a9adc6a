import BlockModel

/// Finds the first run of data in the extents of BLOCK_STATUS answers (`base:allocation`), given
/// in order.
struct ExtentScan {
  /// Everything before it is known.
  private(set) var position: UInt64
  /// The run found so far; `nil` while only zeros were seen.
  private(set) var data: ByteRange?
  /// Zeros follow `data`, or the limit was reached: nothing more can change the result.
  private(set) var isComplete: Bool
  /// Bytes of the next extents that lie before `position`, because a question starts at a block.
  private var skip: UInt64 = 0
  private let limit: UInt64

  /// NBD_STATE_ZERO (NBD protocol, "base:allocation metadata context"). A hole without it may
  /// read as anything.
  private static let zeroFlag: UInt32 = 2

  init(from start: UInt64, limit: UInt64) {
    position = start
    self.limit = limit
    isComplete = start >= limit
  }

  /// A new answer begins, `leadBytes` before `position`.
  mutating func beginAnswer(leadBytes: UInt64) { skip = leadBytes }

  /// Lengths beyond the limit (servers may say more than was asked) are cut.
  mutating func add(length: UInt64, flags: UInt32) {
    let skipped = min(skip, length)
    skip -= skipped
    if isComplete || skipped == length { return }
    let end = position + min(length - skipped, limit - position)
    if flags & Self.zeroFlag == 0 {
      data = ByteRange(start: data?.start ?? position, end: end)
    } else if data != nil {
      isComplete = true
      return
    }
    position = end
    if position == limit { isComplete = true }
  }
}
