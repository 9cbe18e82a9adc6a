import BlockModel
import Journal
import Replication
import SystemIO

/// The link: what each site reads from the other. An input is a list of orders, of which a peer's
/// stream is made (`PeerWriter`); a receiver takes it whole and in pieces.
enum LinkTarget {
  static func run(_ input: [UInt8]) throws(FuzzViolation) {
    var input = FuzzInput(input)
    let disks: [UInt64] = [4096, 1 << 20]
    let choices = Choices(UInt64(input.integer(UInt16.self)))
    var writer = PeerWriter(disks: disks)
    let stream = writer.stream(&input)
    let whole = try LinkPlayer.play(stream, disks, .whole)
    let pieces = try LinkPlayer.play(stream, disks, .pieces(choices))
    try require(whole == pieces, "what is received depends on the pieces: \(whole) or \(pieces)")
    try LinkMessageCheck.check(stream)
  }
}

/// Makes a stream of frames by orders of the input.
struct PeerWriter {
  private var segments: SegmentWriter
  private var stream: [UInt8] = []
  private static let streamByteLimit = 128 << 10

  init(disks: [UInt64]) { segments = SegmentWriter(disks: disks) }

  mutating func stream(_ input: inout FuzzInput) -> [UInt8] {
    while !input.isEmpty, stream.count < Self.streamByteLimit {
      switch input.below(10) {
      case 0: send(.segment, segments.begin(&input))
      case 1, 2: sendRecords(&input, compressed: false)
      case 3: sendRecords(&input, compressed: true)
      case 4: send(.hello, hello(&input))
      case 5: send(.welcome, welcome(&input))
      case 6: send(.progress, Array(input.bytes(33)))
      case 7: send(.baselineZeros, Array(input.bytes(BaselinePiece.byteCount)))
      case 8:
        let kind = LinkFrameKind(rawValue: UInt16(input.byte())) ?? .heartbeat
        send(kind, input.bytes(input.below(80)))
      default: damage(&input)
      }
    }
    return stream
  }

  private mutating func send(_ kind: LinkFrameKind, _ body: [UInt8], argument: UInt64 = 0) {
    stream += LinkFrame(kind, bodyByteCount: body.count, argument: argument).encoded + body
  }

  private mutating func sendRecords(_ input: inout FuzzInput, compressed: Bool) {
    let place = StreamPosition(
      segment: segments.header?.number ?? 0, offset: UInt32(segments.position))
    let argument = segments.near(place.argument, &input)
    var body: [UInt8] = []
    for _ in 0...input.below(6) { body += segments.record(&input) }
    guard compressed else { return send(.records, body, argument: argument) }
    var packed = [UInt8](repeating: 0, count: LZ4.compressedLimit(body.count))
    let count = unsafe body.withUnsafeBytes { plain in
      unsafe packed.withUnsafeMutableBytes { unsafe LZ4.compress(plain, into: $0) ?? 0 }
    }
    var prefix = WireEncoder()
    prefix.put(UInt32(truncatingIfNeeded: segments.near(UInt64(body.count), &input)))
    send(.compressedRecords, prefix.bytes + packed.prefix(count), argument: argument)
  }

  private func hello(_ input: inout FuzzInput) -> [UInt8] {
    let disks = (0..<input.below(4)).map {
      JournalState.Disk(number: DiskNumber(UInt16($0)), name: "d\($0)", byteCount: 4096)
    }
    let hello = LinkHello(
      site: String(decoding: input.bytes(input.below(8)), as: UTF8.self), receiver: "west",
      groupName: "g", group: SegmentWriter.group,
      lineage: Lineage([SegmentWriter.incarnation(segments.near(1, &input))]),
      segmentByteCount: SegmentWriter.segmentByteCount, disks: disks)
    return hello.encoded()
  }

  private func welcome(_ input: inout FuzzInput) -> [UInt8] {
    LinkWelcome(
      site: "west", needsBaseline: input.byte() == 1,
      lineage: Lineage([SegmentWriter.incarnation(segments.near(2, &input))]),
      last: LastRecord(SequenceNumber(segments.near(10, &input)), .zero),
      position: StreamPosition(argument: segments.near(1 << 32 | 4096, &input)),
      segmentIncarnation: .none,
      ownerDurable: .init(
        .init(high: 3, low: segments.near(2, &input)), SequenceNumber(segments.near(8, &input))),
      applied: SequenceNumber(segments.near(5, &input))
    ).encoded()
  }

  /// Changes a byte of what was sent last.
  private mutating func damage(_ input: inout FuzzInput) {
    let distance = Int(input.integer(UInt16.self)) + 1
    guard distance <= stream.count else { return }
    stream[stream.count - distance] ^= input.byte()
  }
}

/// Receives a stream into a journal, as the recovery site does between its socket and its group.
struct LinkPlayer: ~Copyable {
  struct Played: Equatable {
    var failure: String?
    var appended: UInt64
    var position: Int?
    var segments: [[UInt8]]
  }

  private static let plainByteLimit = 2 * RecordHeader.payloadLimit
  private static let slotCount = 4

  private let disks: [UInt64]
  private let folder: MemoryFolder
  private let journal: Journal<MemoryFolder>
  private var recordBytesLeft = 0

  static func play(
    _ stream: [UInt8], _ disks: [UInt64], _ delivery: Delivery
  ) throws(FuzzViolation) -> Played {
    var player = try LinkPlayer(disks)
    return try player.play(stream, delivery)
  }

  private init(_ disks: [UInt64]) throws(FuzzViolation) {
    let folder = MemoryFolder()
    for slot in 0..<Self.slotCount {
      _ = folder.create("segment-0000\(slot)", byteCount: Int(SegmentWriter.segmentByteCount))
    }
    let state = JournalState(
      groupName: "g", group: SegmentWriter.group,
      disks: disks.enumerated().map {
        .init(number: DiskNumber(UInt16($0.offset)), name: "d", byteCount: $0.element)
      }, baseline: .complete)
    let bytes = Int(SegmentWriter.segmentByteCount)
    let recovered = try mustSucceed("recovery of an empty folder") { () throws(JournalError) in
      try JournalRecovery(folder, state: state)
    }
    // Nothing is set before all that can throw has gone well: Swift 6.2 would end it twice.
    self.disks = disks
    self.folder = folder
    journal = Journal(
      storage: folder,
      options: .init(segmentByteCount: bytes, capacityByteCount: bytes * Self.slotCount),
      state: state, recovered: recovered, continuesLastSegment: true)
  }

  private mutating func play(
    _ stream: [UInt8], _ delivery: Delivery
  ) throws(FuzzViolation) -> Played {
    var delivery = delivery
    var failure: String?
    var (position, arrived) = (0, 0)
    while failure == nil {
      do throws(LinkError) {
        while let taken = try step(stream[position..<arrived]) { position += taken }
      } catch { failure = "\(error)" }
      if arrived == stream.count { break }
      arrived += delivery.nextPiece(stream.count - arrived)
    }
    // What came before the failure is kept.
    _ = try mustSucceed("the last commit") { () throws(JournalError) in try journal.commit() }
    try checkSegments()
    let files = folder.names().compactMap { try? folder.open($0).bytes }
    return Played(
      failure: failure, appended: journal.appended.rawValue,
      position: journal.acceptPosition?.offset, segments: files)
  }

  /// Takes one frame, or a piece of one with records; nil when more must arrive first.
  private mutating func step(_ bytes: ArraySlice<UInt8>) throws(LinkError) -> Int? {
    if recordBytesLeft > 0 {
      let available = bytes.prefix(recordBytesLeft)
      let taken = try accept(Array(available))
      if taken == 0, available.count == recordBytesLeft {
        throw .protocolViolation("records end in the middle of one")
      }
      recordBytesLeft -= taken
      return taken == 0 ? nil : taken
    }
    guard bytes.count >= LinkFrame.byteCount else { return nil }
    let parsed = unsafe withExactCopy(of: bytes.prefix(LinkFrame.byteCount)) { header in
      unsafe LinkFrame(parsing: header.baseAddress.unsafelyUnwrapped)
    }
    guard let frame = parsed else { throw .protocolViolation("not a frame") }
    if frame.kind == .records {
      try checkPosition(frame)
      recordBytesLeft = frame.bodyByteCount
      return LinkFrame.byteCount
    }
    let byteCount = LinkFrame.byteCount + frame.bodyByteCount
    guard bytes.count >= byteCount else { return nil }
    try handle(frame, Array(bytes.prefix(byteCount).dropFirst(LinkFrame.byteCount)))
    return byteCount
  }

  private func handle(_ frame: LinkFrame, _ body: [UInt8]) throws(LinkError) {
    switch frame.kind {
    case .segment:
      guard let header = try? SegmentHeader(decoding: body), journal.hasFreeSegment else {
        throw .protocolViolation("segment header is malformed")
      }
      do throws(JournalError) { try journal.acceptSegment(header) } catch {
        throw .local("\(error)")
      }
    case .compressedRecords:
      try checkPosition(frame)
      var decoder = WireDecoder(body)
      guard let count = try? decoder.take(UInt32.self), count <= Self.plainByteLimit else {
        throw .protocolViolation("compressed records too long")
      }
      var plain = [UInt8](repeating: 0, count: Int(count))
      let got = unsafe body.dropFirst(4).withUnsafeBytes { packed in
        unsafe plain.withUnsafeMutableBytes { unsafe LZ4.decompress(packed, into: $0) }
      }
      guard got == plain.count, try accept(plain) == plain.count else {
        throw .protocolViolation("compressed records do not decompress")
      }
    default: break
    }
  }

  private func checkPosition(_ frame: LinkFrame) throws(LinkError) {
    let position = StreamPosition(argument: frame.argument)
    guard let expected = journal.acceptPosition, position.segment == expected.segment,
      Int(position.offset) == expected.offset
    else { throw .protocolViolation("records elsewhere") }
  }

  /// Stages and commits at once: the memory does not stay.
  private func accept(_ records: [UInt8]) throws(LinkError) -> Int {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: records.count, alignment: 1)
    defer { unsafe memory.deallocate() }
    unsafe memory.copyBytes(from: records)
    do throws(JournalError) {
      defer { _ = try? journal.commit() }
      return try unsafe journal.accept(memory, disks: disks)
    } catch { throw .local("\(error)") }
  }

  /// All that was accepted verifies, and nothing else is counted.
  private func checkSegments() throws(FuzzViolation) {
    var next: UInt64?
    for segment in journal.segments(after: .none, through: SequenceNumber(.max)) {
      var scanner = SegmentScanner(segment.file, header: segment.header, limit: segment.end)
      var headers: [RecordHeader] = []
      try mustSucceed("reading a segment") { () throws(Errno) in
        while let record = try scanner.next() { headers.append(record.header) }
      }
      for header in headers { try checkRecord(header) }
      try require(scanner.position == segment.end, "records that do not verify were accepted")
      let first = segment.firstSequence.rawValue
      try require(next == nil || next == first, "a gap between segments")
      next = first + scanner.recordCount
    }
    if let next {
      try require(next == journal.appended.rawValue + 1, "records that are not there are counted")
    }
  }

  private func checkRecord(_ header: RecordHeader) throws(FuzzViolation) {
    if header.kind == .checkpoint { return }
    try require(
      header.disk.index < disks.count && header.range.end <= disks[header.disk.index],
      "a record outside of its disk was accepted")
  }
}
