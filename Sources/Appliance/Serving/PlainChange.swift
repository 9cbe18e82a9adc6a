import BlockModel
import Journal
import NBDProtocol
import Storage
import SystemIO
import Volume

/// One WRITE, TRIM or WRITE_ZEROES of a plain group whose store may keep a thread waiting for long:
/// workers change the disk, in pieces which may overtake each other and those of other requests, as
/// NBD allows. A FLUSH covers what was answered before it, which workers had finished then.
/// Confined to its loop.
final class PlainChange: @unchecked Sendable {
  let request: NBDRequest
  private var piecesUnderWay = 0
  /// No piece is to come any more.
  private var isWhole = false
  private(set) var failure: StorageError?

  init(_ request: NBDRequest) { self.request = request }

  fileprivate func begin(isLast: Bool) {
    piecesUnderWay += 1
    isWhole = isLast
  }

  /// True when that was the last of the request.
  fileprivate func end(_ failure: StorageError?) -> Bool {
    piecesUnderWay -= 1
    self.failure = self.failure ?? failure
    return isWhole && piecesUnderWay == 0
  }
}

extension NBDConnection {
  /// - Parameter payload: copied; empty where the range becomes zeros.
  func changeOnWorker(
    _ kind: RecordKind, _ range: ByteRange, _ payload: UnsafeRawBufferPointer,
    of change: PlainChange, isLast: Bool
  ) {
    change.begin(isLast: isLast)
    beginWait(bytes: payload.count)
    let bytes = unsafe [UInt8](payload)
    let store = reader.store
    workers.submit { [self] in
      var failure: StorageError?
      do throws(StorageError) {
        switch kind {
        case .write, .checkpoint, .disk: try store.write(bytes, at: range.start)
        case .zero, .trim: try store.zero(range, mayFreeSpace: kind == .trim)
        }
      } catch { failure = error }
      let problem = failure
      loop.post { [self] in
        let isDone = change.end(problem)
        if endWait(bytes: bytes.count) { goOn(after: change, isDone: isDone) }
      }
    }
  }

  private func goOn(after change: PlainChange, isDone: Bool) {
    guard case .live(let group) = target else { return }
    let request = change.request
    if isDone {
      group.plainChanged()
      if let failure = change.failure {
        group.noteFailure(PlainFailure(disk: disk, error: failure))
        reply(request.tag, NBDError(failure), NBDError.text(failure))
      } else if request.isFUA {
        group.plain.succeeded(disk)
        waitForSync(group, group.stamped, request.tag)
      } else {
        group.plain.succeeded(disk)
        reply(request.tag, nil)
      }
    }
    workerCame()
  }
}
