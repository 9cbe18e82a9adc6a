extension Journal {
  public struct Options: Sendable {
    public var segmentByteCount: Int
    public var capacityByteCount: Int
    /// Records lie here for long: what was whole when it was written may not be any more.
    public var verifiesBeforeApply: Bool
    public init(
      segmentByteCount: Int, capacityByteCount: Int, verifiesBeforeApply: Bool = false
    ) {
      self.segmentByteCount = segmentByteCount
      self.capacityByteCount = capacityByteCount
      self.verifiesBeforeApply = verifiesBeforeApply
    }
    /// At least two: one is appended to while another is applied.
    var slotLimit: Int { max(2, capacityByteCount / segmentByteCount) }
    public var reserve: SegmentReserve {
      SegmentReserve(segmentLimit: slotLimit, segmentByteCount: segmentByteCount)
    }
  }
}
