/// The name of `known` that `text` most likely means: the one that the fewest typing errors (a
/// letter left out, added, replaced, or two swapped) lead away from. Nil when even the nearest is
/// more than one error in three letters away. Of equals, the first.
public func nearestName(to text: String, in known: [String]) -> String? {
  let written = Array(text.utf8)
  guard written.count <= longestComparedName else { return nil }
  var best: (name: String, distance: Int)?
  for name in known {
    let bytes = Array(name.utf8)
    let distance = typingErrors(from: bytes, to: written)
    guard distance <= max(1, max(bytes.count, written.count) / 3) else { continue }
    if best.map({ distance < $0.distance }) ?? true { best = (name, distance) }
  }
  return best?.name
}

/// No key, option or command is as long; the comparison takes the product of both lengths.
private let longestComparedName = 64

/// The optimal string alignment distance, by its recurrence over prefixes of both texts.
private func typingErrors(from a: [UInt8], to b: [UInt8]) -> Int {
  var beforeLast: [Int] = []
  var last = Array(0...b.count)
  for i in 0..<a.count {
    var row = [i + 1]
    for j in 0..<b.count {
      var distance = min(row[j] + 1, last[j + 1] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
        distance = min(distance, beforeLast[j - 1] + 1)
      }
      row.append(distance)
    }
    (beforeLast, last) = (last, row)
  }
  return last[b.count]
}
