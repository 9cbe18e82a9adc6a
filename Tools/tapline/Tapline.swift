import CommandOptions
import Configuration
import Control
import JournalTools

/// The program: finds the command and turns what it throws into a message and an exit code.
enum Tapline {
  static func run(_ arguments: [String]) -> ExitCode {
    do {
      switch try commandTree.parse(arguments, version: taplineVersion) {
      case .help(let text):
        Output.write(text)
        return .success
      case .version(let line):
        Output.write(line + "\n")
        return .success
      case .run(let invocation):
        return try run(invocation)
      }
    } catch let error as UsageError {
      Output.error("\(error)")
      return .usage
    } catch let error as ConfigurationError {
      Output.error("\(error)")
      return .usage
    } catch let failure as CommandFailure {
      Output.error("tapline: \(failure.message)")
      return failure.code
    } catch let error as ControlError {
      Output.error("tapline: \(error)")
      switch error {
      case .unreachable: return .unreachable
      case .badConfiguration: return .usage
      default: return .failed
      }
    } catch {
      Output.error("tapline: \(error)")
      return .failed
    }
  }

  private static func run(_ invocation: Invocation) throws -> ExitCode {
    switch invocation.command {
    case ["site"]: try SiteCommand.run(invocation)
    case ["journal", "ls"]: try JournalListCommand.run(invocation)
    case ["journal", "verify"]: try JournalVerifyCommand.run(invocation)
    case ["journal", "dump"]: try JournalDumpCommand.run(invocation)
    case ["journal", "export"]: try JournalExportCommand.run(invocation)
    default: try ask(invocation)
    }
  }

  /// A running site. With --json, why it did not do it is an object on standard output, too.
  private static func ask(_ invocation: Invocation) throws -> ExitCode {
    do { return try command(invocation) } catch let error as ControlError {
      if invocation.hasFlag("json") {
        Output.write(try ControlJSON.pretty(FailedCommand(error)) + "\n")
      }
      throw error
    }
  }

  private static func command(_ invocation: Invocation) throws -> ExitCode {
    switch invocation.command {
    case ["status"]: try StatusCommand.run(invocation)
    case ["checkpoint"]: try CheckpointCommand.run(invocation)
    case ["timeline"]: try TimelineCommand.run(invocation)
    case ["reload"]: try ReloadCommand.run(invocation)
    case ["sync"]: try SyncCommand.run(invocation)
    case ["test", "start"]: try TestCommand.runStart(invocation)
    case ["test", "stop"]: try TestCommand.runStop(invocation)
    case ["test", "list"]: try TestCommand.runList(invocation)
    case ["failover"]: try FailoverCommand.runFailover(invocation)
    case ["commit"]: try FailoverCommand.runCommit(invocation)
    case ["move"], ["failback"]: try FailoverCommand.runMove(invocation)
    case ["rollback"]: try FailoverCommand.runRollback(invocation)
    case ["pair"]: try PairCommand.runPair(invocation)
    case ["peers"]: try PairCommand.runPeers(invocation)
    case ["unpair"]: try PairCommand.runUnpair(invocation)
    default: preconditionFailure("no code for \(invocation.command)")
    }
  }

  private static let commandTree = Command(
    "tapline",
    summary: "Journals, replicates and analyses every write of virtual disks, and opens them as"
      + " they were at any instant.",
    subcommands: [
      SiteCommand.command, StatusCommand.command, CheckpointCommand.command,
      TimelineCommand.command, TestCommand.command, FailoverCommand.failover,
      FailoverCommand.commit, FailoverCommand.rollback,
      FailoverCommand.move, FailoverCommand.failback, ReloadCommand.command, SyncCommand.command,
      PairCommand.pair, PairCommand.peers, PairCommand.unpair, journalCommand,
    ], exitCodes: ExitCode.help)

  private static let journalCommand = Command(
    "journal", summary: "look into a group's journal folder, with or without a running site",
    discussion: """
      The folder is DATA/GROUP, with DATA from the site's configuration. Nothing in it is changed.
      While a command runs, no site can start on the folder; when one runs already, the command
      says so and reads the folder all the same.
      """,
    subcommands: [
      JournalListCommand.command, JournalVerifyCommand.command, JournalDumpCommand.command,
      JournalExportCommand.command,
    ])
}
