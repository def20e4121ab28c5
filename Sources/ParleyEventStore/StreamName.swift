/// Names one stream of events: by convention the kind of thing and its id, `order-123`.
public struct StreamName: Sendable, Hashable, CustomStringConvertible {
    public let description: String

    /// `nil` unless the text has 1 to 255 bytes of visible ASCII.
    public init?(_ text: String) {
        guard (1...255).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            return nil
        }
        self.description = text
    }
}
