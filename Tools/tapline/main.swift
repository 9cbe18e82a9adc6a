import Appliance
import Configuration
import Foundation

func say(_ s: String) { FileHandle.standardError.write(Data((s + "\n").utf8)) }
var set = sigset_t()
sigemptyset(&set); sigaddset(&set, SIGTERM); sigaddset(&set, SIGINT)
pthread_sigmask(SIG_BLOCK, &set, nil)
signal(SIGPIPE, SIG_IGN)
let path = CommandLine.arguments.last!
do {
  let site = try Site.start(try SiteConfiguration.load(path: path)) { say($0) }
  FileHandle.standardOutput.write(Data("ready\n".utf8))
  var sig: Int32 = 0
  while true {
    sigwait(&set, &sig)
    if sig == SIGINT {
      let e = JSONEncoder(); e.outputFormatting = [.prettyPrinted, .sortedKeys]
      say(String(decoding: try e.encode(site.status()), as: UTF8.self))
    } else { break }
  }
  site.stop()
} catch { say("\(error)"); exit(1) }
