/// Simulated files end at once; see the one for Linux. What is let go of may outlive its
/// simulation.
public enum LateClosing {
  public static func submit(_ job: @escaping @Sendable () -> Void) { job() }
}
