import Appliance

/// The version of Tapline, by Semantic Versioning.
public let taplineVersion = Site.version
