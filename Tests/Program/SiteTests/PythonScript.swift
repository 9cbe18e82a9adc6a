import TestSupport

/// Runs a script for Python's libnbd and returns the lines that it prints. `h` is a handle that is
/// connected to `uri` and lets requests through that libnbd itself would refuse; `chunk` is a
/// callback for reads that prints what it is given, `error(call)` prints the error number's name.
func python(
  _ uri: String, _ script: String, before: String = "", within limit: Duration = hangLimit
) throws -> [String] {
  let prologue = """
    import nbd
    h = nbd.NBD()
    h.set_strict_mode(0)
    \(before)
    h.connect_uri('\(uri)')
    def chunk(data, offset, status, error):
        print(offset, len(data), {1: 'data', 2: 'hole', 3: 'error'}[status], error.value)
    def error(call):
        try:
            call()
            print('no error')
        except nbd.Error as e:
            print(e.errno)

    """
  return try run("python3", ["-c", prologue + script], within: limit).checked().stdout
    .split(separator: "\n").map(String.init)
}
