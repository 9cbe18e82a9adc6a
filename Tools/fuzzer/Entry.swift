import FuzzTargets
import Glibc

// The functions that libFuzzer calls (https://llvm.org/docs/LibFuzzer.html). `Tools/fuzz` builds
// this with it, and names the target in the environment.

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  do throws(FuzzViolation) { try target.run(input) } catch { fatalError("\(target): \(error)") }
  return 0
}

private let target: FuzzTarget = {
  let name = unsafe getenv("TAPLINE_FUZZ_TARGET").map { unsafe String(cString: $0) }
  guard let target = FuzzTarget(rawValue: name ?? "") else {
    fatalError("TAPLINE_FUZZ_TARGET names no target: \(name ?? "not set")")
  }
  return target
}()
