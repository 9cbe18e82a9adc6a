public import BlockModel

/// Where the analyzer gets the payloads that it samples: the journal's segment files.
public protocol PayloadReader: ~Copyable {
  /// Reads `length` bytes that begin at `source` into the start of `buffer`, which has room for
  /// them. Called on the analyzer's thread; may block on storage.
  ///
  /// - Returns: false when those bytes are gone because the journal recycled the segment.
  mutating func read(
    _ source: ExtentSource, length: Int, into buffer: UnsafeMutableRawBufferPointer
  ) -> Bool
}
