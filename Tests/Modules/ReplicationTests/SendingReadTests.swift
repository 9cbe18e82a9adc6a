import SystemIO
import TestSupport
import Testing

@testable import Journal
@testable import Replication

/// Proves that the thread which a link shares with others does not wait for the journal's disk:
/// what is not in memory is read by another one, and is sent as it is in the journal.
@Suite struct SendingReadTests {
  /// What was put out, by segment and position.
  private struct Sent {
    var bytes: [UInt32: [UInt8]] = [:]
    var fromFiles: Set<UInt32> = []

    mutating func take(_ parcel: LinkParcel) throws {
      let frame = try #require(
        unsafe parcel.head.withUnsafeBytes { unsafe LinkFrame(parsing: $0.baseAddress!) })
      let position = StreamPosition(argument: frame.argument)
      switch (frame.kind, parcel.body) {
      case (.segment, _): bytes[position.segment] = Array(parcel.head[LinkFrame.byteCount...])
      case (.records, .memory(let records)):
        #expect(bytes[position.segment]?.count == Int(position.offset))
        bytes[position.segment]? += unsafe Array(records)
      case (.records, .file(let file, let offset, let byteCount)):
        let records = PageBuffer(byteCount: byteCount)
        let room = unsafe UnsafeMutableRawBufferPointer(start: records.base, count: byteCount)
        try unsafe file.read(into: room, at: offset)
        #expect(bytes[position.segment]?.count == Int(position.offset))
        bytes[position.segment]? += unsafe Array(room)
        fromFiles.insert(position.segment)
      default: break
      }
    }
  }

  /// A peer was away for six segments; `forgets`: and none of them is in memory any more.
  private func catchUp(forgets: Bool) throws -> (sent: Sent, works: Int, FolderJournal) {
    let scene = try SendingScene()
    try scene.folder.fill(segments: 6, seed: 1)
    let segments = scene.folder.segments
    for segment in segments where forgets {
      try segment.file.syncData()
      segment.file.forgetCached()
    }
    if forgets, try isInMemory(segments[2]) {
      try skipTest("the file system of the temporary folder keeps everything in memory")
    }
    scene.handle(.start)
    scene.handle(.connected)
    scene.drain()
    scene.arrive(.welcome, scene.welcome().encoded())
    // Both ends agree, and the first record was looked at.
    for _ in 0..<2 { scene.finishWork() }
    var (sent, works) = (Sent(), 0)
    while !scene.pending.isEmpty || !scene.work.isEmpty {
      if !scene.work.isEmpty {
        works += 1
        scene.finishWork()
      }
      for parcel in scene.pending { try sent.take(parcel) }
      scene.pass(milliseconds: 20)
      if !scene.pending.isEmpty { scene.drain() }
    }
    return (sent, works, scene.folder)
  }

  private func isInMemory(_ segment: Segment<File>) throws -> Bool {
    let buffer = PageBuffer(byteCount: segment.end)
    let room = unsafe UnsafeMutableRawBufferPointer(start: buffer.base, count: segment.end)
    return try unsafe segment.file.readIfCached(into: room, at: 0)
  }

  @Test(arguments: [false, true])
  func `records are sent as they are in the journal`(forgets: Bool) throws {
    let (sent, works, folder) = try catchUp(forgets: forgets)
    for segment in folder.segments {
      #expect(try sent.bytes[segment.number] == FolderJournal.bytes(of: segment))
    }
    #expect(forgets ? works >= 2 : works == 0, "\(works)")
    // Only what was just written goes to the socket without being read.
    let newest = try #require(folder.segments.last?.number)
    #expect(sent.fromFiles == [newest - 1, newest])
  }

  @Test func `a segment that cannot be read ends the connection with its number`() throws {
    let scene = try SendingScene()
    try scene.write()
    let reading = SegmentReading()
    let segment = scene.folder.segments[0]
    // Behind the end of the file: as one that was truncated.
    let offset = Int(try segment.file.size())
    #expect(try unsafe reading.bytes(of: segment, at: offset, 4096) == nil)
    reading.run()
    let error = #expect(throws: LinkError.self) {
      try unsafe reading.bytes(of: segment, at: offset, 4096)
    }
    #expect("\(try #require(error))".contains("reading journal segment \(segment.number)"))
  }
}
